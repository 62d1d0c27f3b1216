"""The watcher is killed in the middle of a batch: the next shift begins by itself and misses nothing."""

import time
from pathlib import Path

import pytest

from infra.states import BatchState
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
TAKES_OVER_WITHIN = 60.0
"""Seconds; far less than a shift, at whose end the next one would begin anyway."""


def test_the_next_shift_takes_over_at_once(stack: Stack, tmp_path: Path):
    running = stack.submit(album(tmp_path / "pictures", 24), "watched")
    stack.eventually("an image is done", lambda: stack.done(running) >= 1)
    dead = _holder(stack)
    stack.kill_run(dead)
    killed = time.monotonic()
    handed_in_meanwhile = stack.submit(album(tmp_path / "more", 3), "unwatched")

    stack.eventually("another watcher", lambda: _holder(stack) not in (None, dead), within=TAKES_OVER_WITHIN)
    print(f"another watcher was at work after {time.monotonic() - killed:.1f} s")
    assert stack.ended(running).state is BatchState.DONE
    assert stack.ended(handed_in_meanwhile).state is BatchState.DONE
    assert stack.restarts(stack.ledger.batch(running)) == 0


def _holder(stack: Stack) -> str | None:
    """The flow run that watches the inbox."""
    lease = stack.ledger.lease("watcher")
    return lease.holder if lease else None
