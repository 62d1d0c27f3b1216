"""The shipped model is small, plain, quick to load, and better than bicubic by far."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workers.catalogue import shipped
from workers.model import Upscaler, load, load_file
from workers.training.score import score_folder

BENCH = Path(__file__).parents[2].parent / "shared" / "data" / "bench"


@pytest.fixture(scope="module")
def fast() -> Upscaler:
    return load("fast")


def test_it_doubles_pictures_and_knows_itself(fast: Upscaler) -> None:
    assert (fast.name, fast.scale, fast.halo) == ("fast", 2, 9)
    assert len(fast.checksum) == 64


def test_each_shipped_model_enlarges_as_its_name_says() -> None:
    for model in shipped().models.values():
        upscaler = load_file(model)
        assert (upscaler.name, upscaler.scale) == (model.name, model.scale)


def test_each_shipped_model_is_under_one_megabyte_and_without_code_of_its_own() -> None:
    for path in (model.path for model in shipped().models.values()):
        assert path.stat().st_size < 1_000_000
        with zipfile.ZipFile(path) as archive:
            assert b"Lambda" not in archive.read("config.json")


def test_each_shipped_model_has_its_card_and_its_attribution() -> None:
    for path in (model.path for model in shipped().models.values()):
        assert path.with_suffix(".md").is_file()
        assert (path.parent / "ATTRIBUTION.md").is_file()


def test_the_same_tiles_give_the_same_bytes(fast: Upscaler) -> None:
    tiles = np.random.default_rng(3).random((3, 50, 70, 3), np.float32)
    assert fast(tiles).tobytes() == load("fast")(tiles).tobytes()


def test_a_tile_with_its_halo_is_as_in_the_whole_picture(fast: Upscaler) -> None:
    picture, halo = np.random.default_rng(4).random((1, 64, 64, 3), np.float32), fast.halo
    whole = fast(picture)[:, 48:80, 48:80]
    tile = fast(picture[:, 24 - halo : 40 + halo, 24 - halo : 40 + halo])
    np.testing.assert_allclose(tile[:, 2 * halo : -2 * halo, 2 * halo : -2 * halo], whole, atol=1e-5)


@pytest.mark.parametrize(("folder", "least"), [("Set5", 36.6)])
def test_it_beats_bicubic_by_three_decibels(
    fast: Upscaler, folder: str, least: float, bench: Callable[[str], Path]
) -> None:
    scores = score_folder(fast, bench(folder), fast.scale)
    assert np.mean(list(scores.values())) >= least


@pytest.fixture
def bench() -> Callable[[str], Path]:
    def folder(name: str) -> Path:
        if not (BENCH / name).is_dir():
            pytest.skip(f"the benchmark pictures are not here: {BENCH / name}")
        return BENCH / name

    return folder


def test_tensorflow_is_not_imported_before_a_model_is_loaded() -> None:
    code = "import sys, workers.model; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_it_prints_nothing() -> None:
    code = "from workers.model import load; load('fast')"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (loaded.stdout, loaded.stderr) == ("", "")
