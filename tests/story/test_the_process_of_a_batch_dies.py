"""The process that looks after a batch is killed: another one takes over by itself, and images that are done stay."""

from pathlib import Path

import pytest

from infra.states import BatchState, EventKind
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 36


def test_another_run_goes_on_with_what_is_missing(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "orphaned")
    stack.eventually("three images are done", lambda: stack.done(batch) >= 3)
    before = stack.results(batch)
    stack.kill_run(stack.ledger.batch(batch).flow_run_id)
    assert stack.done(batch) < PICTURES, "it was killed too late for this test to mean anything"

    row = stack.ended(batch)
    assert row.state is BatchState.DONE
    assert stack.restarts(row) == 1
    after = stack.results(batch)
    assert len(after) == PICTURES
    assert {name: after[name] for name in before} == before
    assert not [event for event in stack.ledger.events(batch_id=row.id) if event.kind is EventKind.RESULT_DIFFERS]

    died, lived = stack.ended_runs(batch)
    assert died.state_name == "Crashed"
    assert lived.state_name == "Completed"
