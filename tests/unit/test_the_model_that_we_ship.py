"""The shipped models are small, plain, quick to load, and better than bicubic by far."""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workers.catalogue import ModelFile, shipped
from workers.model import Upscaler, load, load_file
from workers.training.recipe import read_recipe
from workers.training.score import score_folder

BENCH = Path(__file__).parents[2].parent / "shared" / "data" / "bench"


@pytest.fixture(scope="module")
def fast() -> Upscaler:
    return load("fast")


#: Mean luma PSNR on Set5 in dB that each model has at least: below what it was shipped with by a hair only.
#: Models for JPEGs are scored on inputs saved as JPEG at quality 75. Bicubic has 33.65, 28.42 at ×4, 31.6 on the JPEGs.
LEAST = {
    "tiny-x2": 36.7,
    "fast-x2": 37.35,
    "fast-jpeg-x2": 33.45,
    "fast-x4": 31.3,
}


def names(model: ModelFile) -> str:
    return model.path.stem


MODELS = tuple(shipped().models.values())


def test_it_knows_itself(fast: Upscaler) -> None:
    assert (fast.name, fast.scale) == ("fast", 2)
    assert len(fast.checksum) == 64


@pytest.mark.parametrize("model", MODELS, ids=names)
def test_a_shipped_model_enlarges_as_its_name_and_its_recipe_say(model: ModelFile) -> None:
    recipe = read_recipe(model.path.stem)
    upscaler = load_file(model)
    assert (upscaler.name, upscaler.scale) == (model.name, model.scale)
    assert (upscaler.scale, upscaler.halo) == (recipe.scale, recipe.depth + 1)
    assert bool(recipe.jpeg_quality) == model.name.endswith("-jpeg")


@pytest.mark.parametrize("model", MODELS, ids=names)
def test_a_shipped_model_is_small_and_without_code_of_its_own(model: ModelFile) -> None:
    assert model.path.stat().st_size < 4_000_000
    with zipfile.ZipFile(model.path) as archive:
        assert b"Lambda" not in archive.read("config.json")


@pytest.mark.parametrize("model", MODELS, ids=names)
def test_a_shipped_model_has_a_card_that_is_its_own(model: ModelFile) -> None:
    told = " ".join(model.path.with_suffix(".md").read_text(encoding="utf-8").split())
    assert hashlib.sha256(model.path.read_bytes()).hexdigest()[:16] in told
    assert f"`--model {model.name}`" in told
    assert "[ATTRIBUTION.md](ATTRIBUTION.md)" in told
    assert (model.path.parent / "ATTRIBUTION.md").is_file()
    assert f"{model.path.stem}.toml" in told


def test_the_same_tiles_give_the_same_bytes(fast: Upscaler) -> None:
    tiles = np.random.default_rng(3).random((3, 50, 70, 3), np.float32)
    assert fast(tiles).tobytes() == load("fast")(tiles).tobytes()


def test_a_tile_with_its_halo_is_as_in_the_whole_picture(fast: Upscaler) -> None:
    picture, halo = np.random.default_rng(4).random((1, 64, 64, 3), np.float32), fast.halo
    whole = fast(picture)[:, 48:80, 48:80]
    tile = fast(picture[:, 24 - halo : 40 + halo, 24 - halo : 40 + halo])
    np.testing.assert_allclose(tile[:, 2 * halo : -2 * halo, 2 * halo : -2 * halo], whole, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=names)
def test_a_shipped_model_is_as_good_as_it_was(model: ModelFile, bench: Callable[[str], Path]) -> None:
    quality = 75 if model.name.endswith("-jpeg") else None
    upscaler = load_file(model)
    scores = score_folder(upscaler, bench("Set5"), upscaler.scale, quality)
    assert np.mean(list(scores.values())) >= LEAST[model.path.stem]


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
