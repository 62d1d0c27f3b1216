"""The keeper is killed while it rents and while it returns, and two of them start at once: no machine is forgotten."""

from pathlib import Path

import pytest

from flows.runs import SPOT_POOL, Runs
from infra.states import BatchState, LifeEnd, LifeState, MachineEnd, MachineState
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 24


def test_killed_while_it_rents_and_the_answer_is_lost_there_is_one_machine_for_each_row(stack: Stack, tmp_path: Path):
    stack.eventually("the pool has ended", lambda: not stack.ledger.lives(open_only=True))
    inserts = stack.emulator.inserts()
    stack.emulator.lose_answer(times=2)
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "kept-by-two")
    stack.eventually("a machine is asked for", lambda: _rows(stack, batch))
    killed = _keeper(stack)
    stack.kill_run(killed)

    stack.eventually("another keeper", lambda: _keeper(stack) not in (None, killed))
    assert stack.ended(batch).state is BatchState.DONE
    rows = _rows(stack, batch)
    assert stack.emulator.inserts() - inserts == len([m for m in rows if m.end is not MachineEnd.NEVER_CREATED])
    there = {it["name"] for it in stack.emulator.machines()}
    assert there == {m.name for m in stack.ledger.machines(open_only=True)}


def test_two_keepers_at_once_are_one(stack: Stack, tmp_path: Path):
    batch = stack.submit(album(tmp_path / "pictures", PICTURES), "kept-by-one")
    stack.eventually("a keeper", lambda: _keeper(stack))
    second = Runs(f"http://127.0.0.1:{stack.port}/api").start(SPOT_POOL)
    stack.eventually("the second one ends", lambda: stack.run_state(second) == "COMPLETED")
    assert _keeper(stack) != str(second)
    assert stack.ended(batch).state is BatchState.DONE
    assert len(stack.ledger.lives(open_only=True)) <= 1


def test_killed_while_it_returns_and_deleting_fails_for_a_while_everything_goes_all_the_same(stack: Stack):
    life = stack.ledger.current_life()
    assert life is not None
    stack.emulator.delete_fails(times=3)
    stack.eventually("machines go back", lambda: _stopping(stack))
    killed = _keeper(stack)
    stack.kill_run(killed)

    stack.eventually("the life is over", lambda: stack.ledger.life(life.id).state is LifeState.CLOSED)
    assert stack.ledger.life(life.id).end in (LifeEnd.IDLE, LifeEnd.REPLACED)
    assert stack.emulator.machines() == []
    assert not stack.ledger.machines(open_only=True)
    stack.emulator.calm()


def _rows(stack: Stack, batch: str) -> list:
    row = stack.ledger.find_batch(batch)
    return [m for m in stack.ledger.machines() if row is not None and m.requested_at > row.arrived_at]


def _keeper(stack: Stack) -> str | None:
    lease = stack.ledger.lease("pool-keeper")
    return lease.holder if lease else None


def _stopping(stack: Stack) -> bool:
    return any(m.state is MachineState.STOPPING for m in stack.ledger.machines(open_only=True))
