"""The keeper brings machines up, replaces one that dies, and leaves nothing behind; another keeper may take over."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.pool.local import MOST_BOOT_FAILURES, LocalPool, PoolFailed
from infra.processes import MARK, marked
from infra.states import LifeEnd, LifeState, MachineEnd, MachineState
from tests.contract.pool.conftest import now, open_pool
from tests.waiting import eventually

pytestmark = pytest.mark.slow
BOOTS_WITHIN = 120.0
SECRETS = {
    "PREFECT_API_KEY": "a password",
    "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    "SPOTLIFT_LEDGER": "postgresql+psycopg://spotlift:secret@host/ledger",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "SOMETHING_TOKEN": "t",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    """A pool with one machine that has checked in, opened by a process that knows secrets."""
    with pytest.MonkeyPatch.context() as patch:
        for name, secret in SECRETS.items():
            patch.setenv(name, secret)
        pool = open_pool(tmp_path_factory.mktemp("kept"), machines=1)
        _step_until(pool, lambda: all(m.checked_in_at for m in pool.ledger.machines(pool.life.id)))
    yield pool
    pool.close(LifeEnd.ASKED, now())


def test_no_more_machines_are_rented_than_wanted(kept: LocalPool):
    kept.step(now(), print)
    assert len(kept.ledger.machines(kept.life.id)) == 1


def test_scheduler_and_machines_know_no_secret_and_no_address_of_ours(kept: LocalPool):
    pids = [process.pid for process in kept.processes.all()]
    assert len(pids) == 2
    for pid in pids:
        environment = psutil.Process(pid).environ()
        assert {name for name in environment if name.startswith(("SPOTLIFT", "PREFECT", "GOOGLE"))} == {MARK}
        assert not set(SECRETS.values()) & set(environment.values())


def test_another_keeper_finds_everything_and_starts_nothing_twice(kept: LocalPool):
    before = {process.name: process.pid for process in kept.processes.all()}
    successor = LocalPool(kept.settings, kept.ledger, kept.ledger.life(kept.life.id))
    successor.open(now(), still_ours=lambda: True)
    successor.step(now(), print)
    assert {process.name: process.pid for process in successor.processes.all()} == before
    assert len(kept.ledger.machines(kept.life.id)) == 1


def test_a_dead_machine_is_noted_and_replaced(kept: LocalPool):
    [machine] = kept.ledger.machines(kept.life.id, open_only=True)
    os.kill(machine.pid or 0, signal.SIGKILL)
    _step_until(kept, lambda: len(kept.ledger.machines(kept.life.id)) == 2)
    lost = kept.ledger.machine(machine.name)
    assert (lost.state, lost.end) == (MachineState.TERMINATED, MachineEnd.LOST)
    [other] = kept.ledger.machines(kept.life.id, open_only=True)
    assert other.name != machine.name
    assert psutil.pid_exists(other.pid or 0)


def test_closing_leaves_no_process_and_no_open_row_and_may_be_repeated(kept: LocalPool):
    for _ in range(2):
        kept.close(LifeEnd.IDLE, now())
        assert marked(str(kept.settings.state)) == []
        assert kept.ledger.machines(kept.life.id, open_only=True) == []
        life = kept.ledger.life(kept.life.id)
        assert (life.state, life.end) == (LifeState.CLOSED, LifeEnd.IDLE)


def test_machines_that_never_check_in_end_the_life_with_a_reason(tmp_path: Path, request: pytest.FixtureRequest):
    pool = open_pool(tmp_path, machines=1, model="there-is-no-such-model")
    request.addfinalizer(lambda: pool.close(LifeEnd.FAILED, now()))
    with pytest.raises(PoolFailed, match="never checked in"):
        _step_until(pool, lambda: False)
    machines = pool.ledger.machines(pool.life.id)
    assert len(machines) == MOST_BOOT_FAILURES
    assert {machine.end for machine in machines} == {MachineEnd.BOOT_FAILED}


def _step_until(pool: LocalPool, holds: Callable[[], bool]) -> None:
    def stepped() -> bool:
        pool.step(now(), print)
        return holds()

    eventually("the pool gets there", stepped, BOOTS_WITHIN)
