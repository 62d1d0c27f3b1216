"""From the inbox into the ledger: which models enlarge a batch, in its first round and in a later one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import registering
from flows.models import checksum_of, model_key
from infra import arrivals
from infra.records import Batch, Ledger
from infra.settings import Settings
from infra.states import BatchState
from tests.story.pictures import draw
from workers.catalogue import Catalogue, shipped

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    ledger = Ledger(sqlite_url)
    ledger.migrate()
    return ledger


def hand_in(settings: Settings, wish: str = "") -> None:
    draw(settings.inbox_folder / "holiday" / "a.jpg", 24, 16, seed=1, quality=50)
    draw(settings.inbox_folder / "holiday" / "b.png", 24, 16, seed=2)
    (settings.inbox_folder / "holiday" / "batch.toml").write_text(wish)


def register(ledger: Ledger, settings: Settings, catalogue: Catalogue | None = None) -> Batch:
    """Take the batch if nobody has yet, and register it."""
    arrival = arrivals.find(settings.inbox_folder, "holiday")
    assert arrival is not None
    known = {"kind": arrival.kind, "source": arrival.source, "fingerprint": arrival.fingerprint}
    wish = registering.wish_of(arrival, settings)
    ledger.take(arrival.name, **vars(wish), **known, now=NOW)
    batch, _ = registering.register(ledger, settings, ledger.batch("holiday"), NOW, catalogue)
    return batch


def begin_again(ledger: Ledger, batch: Batch) -> None:
    ledger.ask_cancel(batch.id, NOW)
    ledger.cancelled(batch.id, NOW)
    ledger.retry(batch.id, NOW)


def test_a_batch_without_a_wish_is_registered_with_the_tier_that_auto_comes_to(ledger: Ledger, settings: Settings):
    hand_in(settings)
    batch = register(ledger, settings)
    assert (batch.state, batch.model, batch.scale) == (BatchState.REGISTERED, "auto-fast", 2)
    assert batch.model_checksum == checksum_of(shipped().lineup("auto-fast"))


def test_a_retry_keeps_the_tier_whatever_is_rented_by_then(ledger: Ledger, settings: Settings, tmp_path: Path):
    for tier in ("fast", "best"):
        (tmp_path / f"{tier}-x2.keras").write_text(tier)
    catalogue = Catalogue.of(tmp_path)
    hand_in(settings)
    first = register(ledger, settings, catalogue)
    assert first.model == "auto-fast"
    begin_again(ledger, first)
    gpus = settings.model_copy(update={"cloud": "google"})
    again = register(ledger, gpus, catalogue)
    assert (again.round, again.model, again.model_checksum) == (2, first.model, first.model_checksum)


def test_a_retry_takes_a_wish_that_has_changed(ledger: Ledger, settings: Settings):
    hand_in(settings)
    begin_again(ledger, register(ledger, settings))
    hand_in(settings, 'model = "fast"')
    assert register(ledger, settings).model == "fast"


def test_the_setting_counts_where_the_batch_does_not_say(ledger: Ledger, settings: Settings):
    hand_in(settings)
    batch = register(ledger, settings.model_copy(update={"model": "fast"}))
    assert batch.model == "fast"
    assert batch.model_checksum == checksum_of(shipped().lineup("fast"))


def test_somebodys_own_model_is_put_where_machines_fetch_it(ledger: Ledger, settings: Settings, tmp_path: Path):
    own = tmp_path / "mine.keras"
    own.write_bytes(b"a model of somebody's own")
    hand_in(settings, f'model = "{own}"\nscale = 3')
    batch = register(ledger, settings)
    assert (batch.model, batch.scale) == (str(own), 3)
    assert (settings.work_folder / model_key(batch.model_checksum)).read_bytes() == own.read_bytes()


def test_a_model_that_is_not_shipped_at_that_scale_is_refused_before_anything_is_done(
    ledger: Ledger, settings: Settings
):
    hand_in(settings, "scale = 7")
    with pytest.raises(arrivals.WishError, match=r"scale = 7: No shipped model enlarges ×7: .*fast enlarges ×2"):
        register(ledger, settings)
    assert ledger.batches() == []
