"""Here and now, too, `auto` gives each image the model that fits its file."""

from pathlib import Path

import pytest

from tests.models import tiers_with_variant, write_model
from tests.story.pictures import draw
from workers.catalogue import Catalogue
from workers.choice import load_wished, upscaler_for
from workers.folder import enhance_all, pairs
from workers.model import ModelError, load


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return tiers_with_variant(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    draw(tmp_path / "in" / "fine.jpg", 40, 32, seed=1, quality=96)
    draw(tmp_path / "in" / "coarse.jpg", 40, 32, seed=2, quality=50)
    draw(tmp_path / "in" / "drawing.png", 40, 32, seed=3)
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("wished", "used"),
    [
        ("auto", {"fine.jpg": "fast", "coarse.jpg": "fast-jpeg", "drawing.png": "fast"}),
        ("fast", dict.fromkeys(("fine.jpg", "coarse.jpg", "drawing.png"), "fast")),
        ("fast-jpeg", dict.fromkeys(("fine.jpg", "coarse.jpg", "drawing.png"), "fast-jpeg")),
    ],
)
def test_a_folder_tells_which_model_enlarged_what(
    catalogue: Catalogue, album: Path, tmp_path: Path, wished: str, used: dict[str, str]
):
    models = load_wished(wished, None, catalogue)
    ended = list(enhance_all(pairs(album, tmp_path / "out"), models))
    assert {one.pair.name: one.model for one in ended if one.enhanced} == used


def test_where_there_is_no_variant_all_images_get_the_same(catalogue: Catalogue, album: Path):
    models = load_wished("auto", 4, catalogue)
    assert {models.upscaler_for(path).name for path in album.iterdir()} == {"fast"}
    assert models.plain.scale == 4


def test_a_model_is_loaded_once(catalogue: Catalogue):
    assert load_wished("auto", None, catalogue).plain is load_wished("fast", 2, catalogue).plain


def test_a_single_model_is_taken_for_whatever_comes(catalogue: Catalogue, album: Path):
    model = load("fast-jpeg", 2, catalogue)
    assert upscaler_for(album / "drawing.png", model) is model


def test_auto_alone_loads_the_model_for_what_is_not_compressed(catalogue: Catalogue):
    assert load("auto", None, catalogue).name == "fast"


def test_somebodys_own_model_has_the_scale_that_it_has(catalogue: Catalogue, tmp_path: Path):
    own = write_model(tmp_path / "mine.keras", 3)
    assert load_wished(str(own), None, catalogue).plain.scale == 3
    assert load_wished(str(own), 3, catalogue).plain.name == "mine"
    for call in (load_wished, load):
        with pytest.raises(ModelError, match=r"The model mine enlarges ×3 only, not ×2\."):
            call(str(own), 2, catalogue)


def test_a_scale_that_is_not_shipped_is_refused_with_what_there_is(catalogue: Catalogue):
    for call in (load_wished, load):
        with pytest.raises(ModelError, match=r"No shipped model enlarges ×3: fast enlarges ×2, ×4; fast-jpeg enlarges"):
            call("auto", 3, catalogue)
