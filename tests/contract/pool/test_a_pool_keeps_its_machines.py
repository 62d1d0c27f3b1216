"""The keeper brings machines up, replaces one that dies, and leaves nothing behind; another keeper may take over."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from infra.pool.local import MISSED_FOR, MOST_BOOT_FAILURES, LocalPool, PoolFailed

from infra.pool import dispatch
from infra.pool.certificates import Certificate
from infra.pool.folder import life_folder, lives_folder
from infra.processes import MARK, marked
from infra.records.tables import Life
from infra.stack import stop_work
from infra.states import LifeEnd, LifeState, MachineEnd, MachineState
from tests.contract.pool.conftest import address_of, keys_of, now, open_pool
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
        _step_until(pool, lambda: _all_checked_in(pool))
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


def test_a_machine_that_lives_but_has_left_the_scheduler_is_replaced_after_a_while(kept: LocalPool):
    _step_until(kept, lambda: _all_checked_in(kept))
    [machine] = kept.ledger.machines(kept.life.id, open_only=True)
    frozen = psutil.Process(machine.pid)
    frozen.suspend()
    with dispatch.connect(address_of(kept), Certificate.of(keys_of(kept), "client")) as client:
        client.retire_workers(names=[machine.name], close_workers=False, remove=True)
    first_missed = now()
    for moment in (first_missed, first_missed + MISSED_FOR - timedelta(seconds=1)):
        kept.step(moment, print)
        assert frozen.is_running()
    kept.step(first_missed + MISSED_FOR, print)
    assert not frozen.is_running()
    kept.step(now(), print)
    assert kept.ledger.machine(machine.name).end is MachineEnd.LOST
    [other] = kept.ledger.machines(kept.life.id, open_only=True)
    assert other.name != machine.name


def test_a_machine_writes_temporary_files_into_the_folder_of_its_life_only(kept: LocalPool):
    [machine] = kept.ledger.machines(kept.life.id, open_only=True)
    environment = eventually("it has begun", psutil.Process(machine.pid).environ)
    assert Path(environment["TMPDIR"]).is_relative_to(kept.folder)
    assert Path(environment["TMPDIR"]).is_dir()


def test_nothing_is_left_of_a_machine_that_is_gone(kept: LocalPool):
    [living] = kept.ledger.machines(kept.life.id, open_only=True)
    assert [folder.name for folder in (kept.folder / "scratch").iterdir()] == [living.name]


def test_closing_leaves_no_process_and_no_open_row_and_may_be_repeated(kept: LocalPool):
    for _ in range(2):
        kept.close(LifeEnd.IDLE, now())
        assert marked(str(kept.settings.state)) == []
        assert kept.ledger.machines(kept.life.id, open_only=True) == []
        life = kept.ledger.life(kept.life.id)
        assert (life.state, life.end) == (LifeState.CLOSED, LifeEnd.IDLE)


def test_closing_leaves_no_key_and_no_scratch_but_the_logs(kept: LocalPool):
    kept.close(LifeEnd.IDLE, now())
    assert list(lives_folder(kept.settings).iterdir()) == []
    assert {log.stem for log in kept.processes.logs.iterdir()} >= {"scheduler", "local-1-1"}


def test_taking_the_stack_down_leaves_no_key_either(tmp_path: Path):
    pool = open_pool(tmp_path)
    assert list(pool.folder.rglob("*.key"))
    stop_work(pool.settings)
    assert marked(str(tmp_path)) == []
    assert not list(tmp_path.rglob("*.key"))


def test_a_new_ledger_on_an_old_folder_does_not_meet_the_certificates_of_its_namesake(kept: LocalPool):
    namesake = Life(id=kept.life.id, state=LifeState.OPENING, opened_at=kept.life.opened_at + timedelta(days=1))
    assert life_folder(kept.settings, namesake) != kept.folder


def test_machines_that_never_check_in_end_the_life_with_a_reason(tmp_path: Path, request: pytest.FixtureRequest):
    pool = open_pool(tmp_path, machines=1, model="there-is-no-such-model")
    request.addfinalizer(lambda: pool.close(LifeEnd.FAILED, now()))
    with pytest.raises(PoolFailed, match="never checked in"):
        _step_until(pool, lambda: False)
    machines = pool.ledger.machines(pool.life.id)
    assert len(machines) == MOST_BOOT_FAILURES
    assert {machine.end for machine in machines} == {MachineEnd.BOOT_FAILED}


def _all_checked_in(pool: LocalPool) -> bool:
    return all(machine.checked_in_at for machine in pool.ledger.machines(pool.life.id, open_only=True))


def _step_until(pool: LocalPool, holds: Callable[[], bool]) -> None:
    def stepped() -> bool:
        pool.step(now(), print)
        return holds()

    eventually("the pool gets there", stepped, BOOTS_WITHIN)
