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
    for number in range(1, ATTEMPTS + 1):
        stack.eventually(f"attempt {number} is in the hands of a machine", lambda n=number: _in_hand(stack, batch, n))
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


def _in_hand(stack: Stack, batch: str, number: int) -> bool:
    """Whether the attempt of that number is open, and a machine is there that must have taken it."""
    row = stack.ledger.find_batch(batch)
    attempts = stack.ledger.attempts(row.id) if row else []
    serving = [m for m in stack.ledger.machines(open_only=True) if m.checked_in_at and m.state is MachineState.RUNNING]
    return len(attempts) == number and attempts[-1].state is AttemptState.OPEN and bool(serving)
