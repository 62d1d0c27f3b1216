"""A chunk that loses every machine it is given to ends its batch with advice; what is missing is worked off later."""

from pathlib import Path

import pytest

from infra.states import AttemptEnd, AttemptState, BatchEnd, BatchState, ImageState, MachineState
from tests.story.conftest import ATTEMPTS
from tests.story.pictures import draw
from tests.story.stack import Stack

pytestmark = pytest.mark.slow


def test_after_so_many_preemptions_the_user_is_told_and_retry_goes_on(stack: Stack, tmp_path: Path):
    draw(tmp_path / "pictures" / "large.png", 2600, 1900, seed=5)
    batch = stack.submit(tmp_path / "pictures", "unlucky")
    taken: set[str] = set()
    for number in range(1, ATTEMPTS + 1):
        there = stack.eventually(f"attempt {number} has a machine", lambda n=number: _serving(stack, batch, n) - taken)
        taken.update(there)
        stack.emulator.preempt_all(notice=None)

    row = stack.ended(batch)
    assert (row.state, row.reason) == (BatchState.FAILED, BatchEnd.GAVE_UP)
    assert f"was lost {ATTEMPTS} times with its machine" in row.message
    assert "Rent on demand" in row.message
    lost = stack.ledger.attempts(row.id)
    assert len(lost) == ATTEMPTS
    assert {attempt.end for attempt in lost} <= {AttemptEnd.PREEMPTED, AttemptEnd.MACHINE_LOST}
    [image] = stack.ledger.images(row.id)
    assert image.state is not ImageState.REJECTED, "the image was blamed for what the cloud did"

    stack.spotlift("retry", batch)
    assert stack.ended(batch).state is BatchState.DONE
    assert list(stack.results(batch)) == ["large.png"]


def _serving(stack: Stack, batch: str, number: int) -> set[str]:
    """The machines at work while the attempt of that number is open."""
    row = stack.ledger.find_batch(batch)
    attempts = stack.ledger.attempts(row.id) if row else []
    if len(attempts) != number or attempts[-1].state is not AttemptState.OPEN:
        return set()
    machines = stack.ledger.machines(open_only=True)
    return {m.name for m in machines if m.checked_in_at and m.state is MachineState.RUNNING}
