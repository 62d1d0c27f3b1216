"""When there is no work for the whole idle window, the pool gives its machines back and ends."""

import shutil
from pathlib import Path

import pytest

from infra.states import BatchState, LifeEnd, LifeState, MachineEnd, MachineState
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow


def test_a_life_of_the_pool_ends_after_its_work_and_the_next_batch_begins_another(stack: Stack, tmp_path: Path):
    pictures = album(tmp_path / "pictures", 2)
    assert stack.ended(stack.submit(pictures, "before-the-break")).state is BatchState.DONE
    life = stack.ledger.current_life()
    assert life is not None

    stack.eventually("the life is over", lambda: stack.ledger.life(life.id).state is LifeState.CLOSED)
    assert stack.ledger.life(life.id).end is LifeEnd.IDLE
    machines = stack.ledger.machines(life.id)
    assert {machine.state for machine in machines} == {MachineState.TERMINATED}
    assert machines[-1].end in (MachineEnd.IDLE, MachineEnd.POOL_CLOSED)
    assert stack.emulator.machines() == []
    assert "No machine is rented" in stack.spotlift("machines").stdout
    assert not stack.processes_with("workers.machine")
    assert not stack.processes_with("spot-gpu")

    assert stack.ended(stack.submit(pictures, "after-the-break")).state is BatchState.DONE
    following = stack.ledger.current_life()
    assert following is not None
    assert following.id > life.id


def test_a_batch_that_arrives_while_the_pool_closes_is_taken_by_the_next_one(stack: Stack):
    prepared = album(stack.state / "prepared", 2)
    (prepared / "_READY").touch()
    stack.eventually("the pool ends", lambda: not stack.processes_with("--pool spot-gpu"))
    shutil.move(prepared, stack.inbox / "at-the-last-moment")
    row = stack.ended("at-the-last-moment")
    assert row.state is BatchState.DONE
    assert stack.restarts(row) <= 1
