"""What a batch wishes becomes models when it is registered: by what is rented, and the same again in a later round."""

from pathlib import Path

import pytest

from flows.models import checksum_of, is_somebodys_own, lineup_of
from infra.arrivals import Wish, WishError
from infra.settings import Settings
from workers.catalogue import Catalogue

HERE = Settings()
GPUS = Settings(cloud="google", project="ours", controller="10.0.0.1", pool="ours")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    for stem in ("fast-x2", "fast-jpeg-x2", "fast-x4", "best-x2"):
        (tmp_path / f"{stem}.keras").write_text(stem)
    return Catalogue.of(tmp_path)


def test_auto_is_the_best_tier_on_rented_gpus_and_the_fast_one_elsewhere(catalogue: Catalogue):
    assert lineup_of(Wish(), HERE, catalogue=catalogue).name == "auto-fast"
    assert lineup_of(Wish(), GPUS, catalogue=catalogue).name == "auto-best"
    assert lineup_of(Wish(scale=4), GPUS, catalogue=catalogue).name == "auto-fast"  # best is not shipped at ×4


def test_a_later_round_takes_the_tier_of_the_first_whatever_is_rented_by_then(catalogue: Catalogue):
    assert lineup_of(Wish(), GPUS, "auto-fast", catalogue).name == "auto-fast"
    assert lineup_of(Wish(), HERE, "auto-best", catalogue).name == "auto-best"
    assert lineup_of(Wish(), HERE, "auto", catalogue).name == "auto-fast"


def test_a_later_round_may_wish_for_something_else(catalogue: Catalogue):
    assert lineup_of(Wish("best"), HERE, "auto-fast", catalogue).name == "best"
    assert lineup_of(Wish(), GPUS, "fast", catalogue).name == "auto-best"
    assert lineup_of(Wish(scale=4), HERE, "auto-best", catalogue).name == "auto-fast"


def test_a_named_model_is_that_model_wherever_it_runs(catalogue: Catalogue):
    for name in ("fast", "best", "fast-jpeg", "auto-fast"):
        assert lineup_of(Wish(name), HERE, catalogue=catalogue) == lineup_of(Wish(name), GPUS, catalogue=catalogue)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (Wish("tiny"), r"model = 'tiny', scale = 2: There is no model 'tiny'\. Shipped models: auto, fast"),
        (Wish("best", 4), r"model = 'best', scale = 4: The model best enlarges ×2 only, not ×4"),
        (Wish("auto", 8), r"model = 'auto', scale = 8: No shipped model enlarges ×8: fast enlarges ×2, ×4;"),
        (Wish("nowhere.keras"), r"model = 'nowhere\.keras': there is no such file"),
        (Wish("no\0name.keras"), r"there is no such file|cannot be the path of a file"),
        (Wish("~nosuchuser/x.keras"), r"cannot be the path of a file"),
        (Wish("long" * 100 + ".keras"), r"there is no such file|cannot be the path of a file"),
    ],
)
def test_what_cannot_be_granted_is_refused_in_a_sentence(catalogue: Catalogue, wish: Wish, told: str):
    with pytest.raises(WishError, match=told) as refused:
        lineup_of(wish, HERE, catalogue=catalogue)
    assert len(str(refused.value)) < 700


def test_somebodys_own_model_is_remembered_as_it_was_wished_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.keras").write_text("a model")
    monkeypatch.chdir(tmp_path)
    lineup = lineup_of(Wish("mine.keras", 3), HERE)
    assert (lineup.name, lineup.plain.name, is_somebodys_own(lineup.name)) == ("mine.keras", "mine", True)
    assert not is_somebodys_own("auto-fast")
    before = checksum_of(lineup)
    (tmp_path / "mine.keras").write_text("another one")
    assert checksum_of(lineup) != before
    (tmp_path / "mine.keras").unlink()
    with pytest.raises(WishError, match="cannot be read"):
        checksum_of(lineup)
