"""A chunk that loses every machine it is given to ends its batch with advice; what is missing is worked off later."""

from pathlib import Path

import pytest

from infra.states import AttemptEnd, BatchEnd, BatchState, ImageState
from tests.story.conftest import ATTEMPTS
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 28


def test_after_so_many_preemptions_the_user_is_told_and_retry_goes_on(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "unlucky")
    for number in range(1, ATTEMPTS + 1):
        stack.eventually(f"a machine works on attempt {number}", lambda n=number: _works_on(stack, batch, n))
        stack.emulator.preempt_all(notice=None)

    row = stack.ended(batch)
    assert (row.state, row.reason) == (BatchState.FAILED, BatchEnd.GAVE_UP)
    assert f"was lost {ATTEMPTS} times with its machine" in row.message
    assert "Rent on demand" in row.message
    lost = [attempt for attempt in stack.ledger.attempts(row.id) if attempt.end is not AttemptEnd.FINISHED]
    assert max(attempt.number for attempt in lost) == ATTEMPTS
    done = stack.done(batch)
    assert 0 < done < PICTURES
    assert not stack.ledger.images(row.id, ImageState.REJECTED), "an image was blamed for what the cloud did"

    stack.spotlift("retry", batch)
    assert stack.ended(batch).state is BatchState.DONE
    assert len(stack.results(batch)) == PICTURES


def _works_on(stack: Stack, batch: str, number: int) -> bool:
    """Whether a machine has done a part of a chunk, and not all of it, in the attempt of that number."""
    row = stack.ledger.find_batch(batch)
    images = stack.ledger.images(row.id) if row else []
    missing = {image.chunk_id for image in images if image.state is ImageState.WAITING}
    return any(image.attempt == number and image.chunk_id in missing for image in images)
