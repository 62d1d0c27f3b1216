"""The files in a folder are the catalogue: what may be wished for, at which scale, and what a name stands for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.catalogue import (
    Catalogue,
    Lineup,
    NotShipped,
    common_checksum,
    file_checksum,
    lineup_of,
    means_auto,
    shipped,
)

Shipping = Callable[..., Catalogue]
EVERYTHING = ("tiny-x2", "fast-x2", "fast-x4", "fast-jpeg-x2", "best-x2", "best-x4", "best-jpeg-x2", "best-jpeg-x4")


@pytest.fixture
def shipping(tmp_path: Path) -> Shipping:
    """Call it with the stems of files for the catalogue of a folder with these; nobody looks into them."""

    def ship(*stems: str) -> Catalogue:
        for stem in stems:
            (tmp_path / f"{stem}.keras").write_text(stem)
        return Catalogue.of(tmp_path)

    return ship


def files(lineup: Lineup) -> list[str]:
    return [model.path.stem for model in lineup.files]


def test_a_file_that_is_added_can_be_wished_for(shipping: Shipping):
    assert shipping("fast-x2").names() == ("fast",)
    later = shipping("fast-x3", "tiny-x2", "own-x2")
    assert later.names() == ("tiny", "fast", "own")
    assert later.scales("fast") == (2, 3)
    assert files(later.lineup("fast", 3)) == ["fast-x3"]


def test_files_with_other_names_are_passed_over(shipping: Shipping, tmp_path: Path):
    (tmp_path / "fast-x2.md").write_text("its card")
    assert shipping("fast", "fast-x1", "fast-x22", "Fast-x2", "fast-x2 (1)", "fast-jpeg-jpeg-x2").models == {}


def test_a_plain_name_is_one_model_for_all_images(shipping: Shipping):
    catalogue = shipping(*EVERYTHING)
    for name in ("tiny", "fast", "best", "fast-jpeg", "best-jpeg"):
        assert (catalogue.lineup(name).name, files(catalogue.lineup(name))) == (name, [f"{name}-x2"])


def test_auto_brings_the_variant_for_compressed_images_where_there_is_one(shipping: Shipping):
    catalogue = shipping(*EVERYTHING)
    assert files(catalogue.lineup("auto")) == ["fast-x2", "fast-jpeg-x2"]
    assert files(catalogue.lineup("auto", 4)) == ["fast-x4"]
    assert files(catalogue.lineup("auto", 4, auto_tier="best")) == ["best-x4", "best-jpeg-x4"]


def test_there_is_a_scale_for_whatever_is_shipped(shipping: Shipping):
    catalogue = shipping("fast-x2", "fast-x4", "best-x4", "best-x3")
    scales = {name: catalogue.some_scale(name) for name in ("auto", "fast", "best", "auto-best", "tiny", "x.keras")}
    assert scales == {"auto": 2, "fast": 2, "best": 3, "auto-best": 3, "tiny": None, "x.keras": None}


def test_auto_is_remembered_with_its_tier_and_found_again(shipping: Shipping):
    catalogue = shipping(*EVERYTHING)
    for tier in ("fast", "best"):
        lineup = catalogue.lineup("auto", auto_tier=tier)
        assert (lineup.name, means_auto(lineup.name)) == (f"auto-{tier}", True)
        assert catalogue.lineup(lineup.name, auto_tier="fast") == lineup
    assert files(catalogue.lineup("auto-tiny")) == ["tiny-x2"]
    assert not any(means_auto(name) for name in ("auto", "fast", "automatic.keras"))


@pytest.mark.parametrize(
    ("there", "wished", "taken"),
    [
        (("fast-x2", "tiny-x2"), "best", "auto-fast"),
        (("tiny-x2", "best-x2"), "fast", "auto-best"),
        (("tiny-x2",), "fast", "auto-tiny"),
    ],
)
def test_auto_takes_another_tier_when_the_wished_one_is_not_shipped(
    shipping: Shipping, there: tuple[str, ...], wished: str, taken: str
):
    assert shipping(*there).lineup("auto", auto_tier=wished).name == taken


@pytest.mark.parametrize(
    ("model", "scale", "told"),
    [
        ("tiny", 4, r"The model tiny enlarges ×2 only, not ×4\. Shipped: tiny enlarges ×2 only; fast enlarges ×2, ×4;"),
        ("auto-tiny", 3, r"The model auto-tiny enlarges ×2 only, not ×3"),
        ("auto", 7, r"No shipped model enlarges ×7: tiny enlarges ×2 only; fast"),
        (
            "fats",
            2,
            r"There is no model 'fats' \(did you mean fast\?\)\. Shipped models: auto, tiny, fast, fast-jpeg, ",
        ),
        ("auto-fats", 2, r"There is no model 'auto-fats'"),
        ("auto-fast-jpeg", 2, r"There is no model 'auto-fast-jpeg'"),
        ("tiny-jpeg", 2, r"There is no model 'tiny-jpeg'"),
        ("", 2, r"There is no model ''"),
        ("no\0name", 2, r"The path of a \.keras file works too\.$"),
        ("long" * 2000, 2, r"There is no model '(long){25}'"),
        ("nowhere.keras", 2, r"There is no model 'nowhere\.keras'"),
    ],
)
def test_what_is_not_shipped_is_refused_with_what_there_is(shipping: Shipping, model: str, scale: int, told: str):
    with pytest.raises(NotShipped, match=told):
        lineup_of(model, scale, shipping(*EVERYTHING))


def test_without_any_model_the_refusal_is_still_a_sentence(shipping: Shipping):
    with pytest.raises(NotShipped, match=r"^No shipped model enlarges ×2\.$"):
        shipping().lineup("auto")


def test_a_file_that_somebody_brings_has_its_own_scale(shipping: Shipping, tmp_path: Path):
    own = tmp_path / "mine.keras"
    own.write_text("a model")
    lineup = lineup_of(str(own), 4, shipping("fast-x2"))
    assert (lineup.plain.name, lineup.plain.path, lineup.plain.scale, lineup.for_jpeg) == ("mine", own, None, None)


def test_a_name_of_ours_is_no_path(shipping: Shipping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    catalogue = shipping("fast-x2")
    for name in ("auto", "fast", "tiny"):
        (tmp_path / name).write_text("a file of the user")
    monkeypatch.chdir(tmp_path)
    assert files(lineup_of("auto", None, catalogue)) == files(lineup_of("fast", None, catalogue)) == ["fast-x2"]
    with pytest.raises(NotShipped):
        lineup_of("tiny", None, catalogue)


def test_names_are_told_from_paths(shipping: Shipping):
    catalogue = shipping("fast-x2", "own-x2")
    assert all(catalogue.knows(name) for name in ("auto", "fast", "tiny", "best-jpeg", "auto-best", "own"))
    assert not any(catalogue.knows(name) for name in ("mine", "fast.keras", "./fast", "auto.keras", ""))


def test_one_checksum_stands_for_all_files_that_may_be_used(shipping: Shipping, tmp_path: Path):
    def checksum(name: str) -> str:
        return common_checksum(map(file_checksum, shipping().lineup(name).files))

    shipping("fast-x2")
    alone = checksum("auto")
    assert alone == checksum("fast") == file_checksum(shipping().lineup("fast").plain)
    shipping("fast-jpeg-x2")
    both = checksum("auto")
    assert checksum("fast") == alone != both
    (tmp_path / "fast-jpeg-x2.keras").write_text("trained for longer")
    assert checksum("auto") not in (alone, both)


def test_what_we_ship_can_be_wished_for_as_auto():
    lineup = shipped().lineup("auto")
    assert lineup.name == "auto-fast"
    assert all(model.path.is_file() and model.scale == 2 for model in lineup.files)
