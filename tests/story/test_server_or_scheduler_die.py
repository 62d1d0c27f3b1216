"""The Prefect server goes away and comes back, and the pool's Dask scheduler is killed: the batch goes on."""

import os
import signal
from pathlib import Path

import pytest

from infra.pool.folder import life_processes
from infra.processes import Processes
from infra.settings import Settings
from infra.stack import SERVER, stack_processes
from infra.states import BatchState, LifeEnd
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 36


def test_the_server_is_restarted_in_the_middle_and_the_batch_goes_on(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "without-a-server")
    stack.machine_at_work(batch, images=3)
    before = {m.name for m in stack.ledger.machines(open_only=True)}
    _kill(stack_processes(Settings(state=stack.state)), SERVER)
    assert stack.done(batch) < PICTURES
    stack.spotlift("up")
    row = stack.ended(batch)
    assert row.state is BatchState.DONE
    assert len(stack.results(batch)) == PICTURES
    assert before & {m.name for m in stack.ledger.machines() if m.checked_in_at}, "its machines were kept"


def test_a_killed_scheduler_ends_the_life_and_the_next_one_does_the_rest(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "without-a-scheduler")
    stack.machine_at_work(batch, images=3)
    life = stack.ledger.current_life()
    assert life is not None
    done = stack.results(batch)
    _kill(life_processes(Settings(state=stack.state), life), "scheduler")
    assert stack.done(batch) < PICTURES

    assert stack.ended(batch).state is BatchState.DONE
    assert {name: stack.results(batch)[name] for name in done} == done
    assert len(stack.results(batch)) == PICTURES
    assert stack.ledger.life(life.id).end is LifeEnd.FAILED
    assert not stack.ledger.machines(life.id, open_only=True)
    following = stack.ledger.current_life()
    assert following is not None
    assert {it["labels"]["spotlift-life"] for it in stack.emulator.machines()} <= {str(following.id)}


def _kill(processes: Processes, name: str) -> None:
    process = processes.find(name)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
