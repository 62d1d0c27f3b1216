"""A computer with a GPU may have JAX and no TensorFlow: the same training runs there, and its file works here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

from workers import model
from workers.training.score import score_folder

pytest.importorskip("jax", reason="JAX is not installed: `make test` installs it")

# A module that is None in sys.modules cannot be imported: as on a computer without TensorFlow.
WITHOUT_TENSORFLOW = """
import sys
from runpy import run_module
sys.modules["tensorflow"] = None
run_module("workers.training", run_name="__main__")
"""

RECIPE = """
width = 6
depth = 2
expansion = 8
steps = 150
batch = 4
patch = 12
learning_rate = 5e-3
average_decay = 0.9
psnr_from = 0.8
bfloat16_until = 0.5
held_out = 1
"""


def test_what_jax_has_learnt_enlarges_on_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    y, x = np.mgrid[:48, :48]
    for i in range(4):
        stripes = np.where((x + i * y) // 5 % 2, 20, 110).astype(np.uint8)
        picture = pyvips.Image.new_from_array(stripes[..., None].repeat(3, 2), interpretation="srgb")
        picture.write_to_file(str(tmp_path / "data" / f"{i}.png"))
    (tmp_path / "toy.toml").write_text(RECIPE)
    wishes = ["--recipe", "toy.toml", "--data", "data", "--into", "run"]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *wishes]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr

    curve = [json.loads(line) for line in (tmp_path / "run" / "curve.jsonl").read_text().splitlines()]
    upscaler = model.load(str(tmp_path / "run" / "toy.keras"))
    scores = score_folder(upscaler, tmp_path / "data", 2)
    assert curve[-1]["step"] == 150
    assert curve[-1]["held_out_psnr"] == pytest.approx(scores["0.png"], abs=0.05)
    assert scores["0.png"] > 22


def test_a_mistake_is_answered_with_a_sentence(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "workers.training",
        "--tier",
        "huge",
        "--data",
        str(tmp_path),
        "--into",
        str(tmp_path),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert "There is no recipe 'huge-x2'" in ended.stderr
    assert "Traceback" not in ended.stderr
