"""What tests against real servers share: a ledger on each database, and batches to start from."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from infra.records import Batch, ImageOutcome, Ledger, NewChunk, NewImage
from infra.states import SourceKind

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def noon() -> datetime:
    return NOON


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """An empty ledger, on SQLite and on Postgres."""
    ledger = Ledger(database_url)
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def arrived() -> Callable[..., Batch]:
    """Call it with a ledger and a name for a batch that has just arrived."""

    def arrive(ledger: Ledger, name: str = "holiday", now: datetime = NOON) -> Batch:
        batch = ledger.take(name, kind=SourceKind.FOLDER, source=name, fingerprint="1", model="fast", scale=2, now=now)
        assert batch is not None
        return batch

    return arrive


@pytest.fixture
def running(arrived: Callable[..., Batch]) -> Callable[..., Batch]:
    """Call it with a ledger and the names in each chunk for a batch that runs."""

    def run(ledger: Ledger, *chunks: list[str], name: str = "holiday", now: datetime = NOON) -> Batch:
        batch = arrived(ledger, name, now)
        names = [image for chunk in chunks for image in chunk]
        images = [NewImage(image, image, bytes_in=1000, width=40, height=30) for image in names]
        ledger.register(batch.id, images, [NewChunk(chunk, 1200 * len(chunk)) for chunk in chunks], now)
        return ledger.start(batch.id, now)

    return run


@pytest.fixture
def outcome() -> Callable[..., ImageOutcome]:
    """Call it with an image's id for an outcome as a machine reports it."""

    def settle(image_id: int, sha256: str = "a" * 64, reason: str | None = None) -> ImageOutcome:
        if reason is not None:
            return ImageOutcome(image_id, done=False, reason=reason, message="It ends too early.")
        return ImageOutcome(
            image_id,
            done=True,
            width=40,
            height=30,
            out_width=80,
            out_height=60,
            bytes_in=1000,
            bytes_out=3000,
            sha256=sha256,
            seconds=0.5,
            model="fast",
            machine="gpu-1",
            notes=("the profile was kept",),
        )

    return settle
