"""A person stops a batch, or the whole stack, and goes on later: what is done is not done again."""

from pathlib import Path

import pytest

from infra.states import BatchState, ImageState
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 72
"""Enough that a command takes effect long before the last of them, also where starting a command takes its time."""


def test_a_cancelled_batch_is_retried_and_only_what_is_missing_is_worked_off(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "cancelled")
    stack.eventually("an image is done", lambda: stack.done(batch) >= 1)
    said = stack.spotlift("cancel", batch).stdout
    row = stack.ledger.batch(batch)
    assert row.state is BatchState.CANCELLED, said
    kept = _when_published(stack, batch)
    assert 1 <= len(kept) < PICTURES
    assert len(stack.ledger.images(row.id, ImageState.CANCELLED)) == PICTURES - stack.done(batch)

    assert stack.spotlift("retry", batch, "--wait").returncode == 0
    assert stack.ended(batch).round == 2
    assert len(stack.results(batch)) == PICTURES
    assert kept.items() <= _when_published(stack, batch).items()
    first, second = stack.ended_runs(batch)
    assert first.state_name == "Cancelled"
    assert second.state_name == "Completed"


def test_a_batch_survives_the_end_of_the_stack(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "overnight")
    stack.eventually("an image is done", lambda: stack.done(batch) >= 1)
    stack.spotlift("down")
    try:
        assert not stack.processes_with("")
        assert stack.ledger.batch(batch).state is BatchState.RUNNING
        assert "`spotlift up`" in stack.spotlift("status").stdout
        kept = _when_published(stack, batch)
        assert 1 <= len(kept) < PICTURES
    finally:
        stack.spotlift("up")
    assert stack.ended(batch).state is BatchState.DONE
    assert len(stack.results(batch)) == PICTURES
    assert kept.items() <= _when_published(stack, batch).items()


def _when_published(stack: Stack, batch: str) -> dict[str, int]:
    folder = stack.outbox / batch
    return {name: (folder / name).stat().st_mtime_ns for name in stack.results(batch)}
