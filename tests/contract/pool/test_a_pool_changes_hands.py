"""A keeper may lose its lease, its ledger or its life; machines are neither orphaned nor taken from a successor."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from infra.pool.local import LocalPool, Superseded

from flows.leases import KEEPER, KeptLease
from flows.pool import live
from infra.processes import marked
from infra.records import Ledger, LedgerUnreachable
from infra.records.tables import Life
from infra.settings import Settings
from infra.stack import stop_work
from infra.states import LifeEnd, LifeState, MachineState
from tests.contract.pool.conftest import now
from tests.waiting import eventually

pytestmark = pytest.mark.slow
NOBODY_LISTENS = 9
SOON = 0.3
LONG = 600.0


@dataclass
class Site:
    """A state folder without a Prefect server, and a ledger that can be cut off."""

    root: Path
    idle_window: float = SOON
    said: list[str] = field(default_factory=list)
    diary: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "ledger").mkdir()
        self.ledger = Ledger(str(self.settings.ledger_url))
        self.ledger.migrate()

    @property
    def settings(self) -> Settings:
        return Settings(
            state=self.root / "state",
            ledger=f"sqlite:///{self.root}/ledger/ledger.db",
            port=NOBODY_LISTENS,
            machines=1,
            machine_threads=1,
            idle_window=self.idle_window,
        )

    def keep(self, holder: str, seconds: float = 30.0) -> str:
        """Be the keeper of the pool to the end; what it says about that."""
        lease = KeptLease(self.ledger, KEEPER, holder, seconds, self.said.append)
        assert lease.still_ours(now())
        return live(self.settings, self.ledger, lease, self.said.append, lambda _, text: self.diary.append(text))

    def opened(self) -> Life:
        """The life, once it is open and a machine of it runs."""

        def found() -> Life | None:
            life = self.ledger.current_life()
            runs = life and [m for m in self.ledger.machines(life.id) if m.state is MachineState.RUNNING]
            return life if runs else None

        life: Life = eventually("a life is open and has a machine", found)
        return life

    def cut_off(self) -> None:
        """From now on nobody reaches the ledger."""
        (self.root / "ledger").rename(self.root / "out-of-reach")
        self.ledger.close()

    def reconnect(self) -> None:
        (self.root / "out-of-reach").rename(self.root / "ledger")

    def pool(self, life: Life) -> LocalPool:
        return LocalPool(self.settings, self.ledger, self.ledger.life(life.id))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    stop_work(site.settings)


@pytest.fixture
def beside() -> Iterator[Callable[..., "Future[str]"]]:
    """Call it with a function for its future, while the test goes on."""
    with ThreadPoolExecutor() as threads:
        yield threads.submit


def test_a_keeper_that_lost_its_lease_leaves_the_life_to_its_successor(site: Site, beside: Callable):
    site.idle_window = LONG
    first = beside(site.keep, "first", seconds=2.0)
    life = site.opened()
    assert site.ledger.hold(KEEPER, "second", 30, now() + timedelta(hours=1))  # as if the first had been frozen
    with pytest.raises(Superseded):
        first.result(timeout=30)
    assert site.ledger.life(life.id).state is LifeState.OPEN
    assert site.pool(life).is_alive()
    [machine] = site.ledger.machines(life.id, open_only=True)
    assert site.pool(life).processes.find(machine.name) is not None

    site.idle_window = SOON
    assert site.keep("second") == f"life {life.id} ended: {LifeEnd.IDLE}"
    assert f"life {life.id} of the pool goes on with this keeper" in site.said
    assert marked(str(site.settings.state)) == []
    assert [row.end for row in site.ledger.lives()] == [LifeEnd.IDLE]


def test_a_keeper_that_is_superseded_while_it_opens_a_life_leaves_it_too(site: Site):
    life = site.ledger.open_life(now())
    assert life is not None
    pool = LocalPool(site.settings, site.ledger, life)
    with pytest.raises(Superseded):
        pool.open(now(), still_ours=lambda: False)
    assert pool.is_alive()
    pool.open(now(), still_ours=lambda: True)  # and a successor takes the scheduler as it is
    pool.close(LifeEnd.ASKED, now())


def test_a_life_whose_scheduler_died_with_its_keeper_is_closed_and_another_begins(site: Site):
    life = site.ledger.open_life(now())
    assert life is not None
    dead = LocalPool(site.settings, site.ledger, life)
    dead.open(now(), still_ours=lambda: True)
    dead.step(now(), print)
    dead.leave()
    scheduler = dead.processes.find("scheduler")
    assert scheduler is not None
    os.kill(scheduler.pid, signal.SIGKILL)
    eventually("it is dead", lambda: not dead.is_alive())

    assert site.keep("successor") == f"life {life.id + 1} ended: {LifeEnd.IDLE}"
    assert [row.end for row in site.ledger.lives()] == [LifeEnd.REPLACED, LifeEnd.IDLE]
    assert {row.state for row in site.ledger.lives()} == {LifeState.CLOSED}
    assert marked(str(site.settings.state)) == []


def test_a_scheduler_is_not_looked_for_where_a_dead_one_listened(site: Site):
    life = site.ledger.open_life(now())
    assert life is not None
    pool = LocalPool(site.settings, site.ledger, life)
    pool.folder.mkdir(parents=True)
    (pool.folder / "scheduler.json").write_text('{"address": "tls://127.0.0.1:9"}')
    pool.open(now(), still_ours=lambda: True)
    assert pool.life.scheduler_address != "tls://127.0.0.1:9"
    pool.close(LifeEnd.ASKED, now())


def test_machines_are_given_back_also_when_the_ledger_cannot_be_reached(site: Site):
    life = site.ledger.open_life(now())
    assert life is not None
    pool = LocalPool(site.settings, site.ledger, life)
    pool.open(now(), still_ours=lambda: True)
    pool.step(now(), print)
    site.cut_off()
    with pytest.raises(LedgerUnreachable):
        pool.close(LifeEnd.IDLE, now())
    assert marked(str(site.settings.state)) == []

    site.reconnect()
    assert site.ledger.life(life.id).state is LifeState.OPEN
    site.pool(life).close(LifeEnd.REPLACED, now())
    assert site.ledger.life(life.id).state is LifeState.CLOSED
    assert site.ledger.machines(open_only=True) == []
    assert not pool.folder.exists()


def test_a_keeper_outlives_a_short_absence_of_the_ledger_and_says_so_once(site: Site, beside: Callable):
    site.idle_window = 5.0
    keeper = beside(site.keep, "keeper")
    life = site.opened()
    site.cut_off()
    eventually("it complains", lambda: _complaints(site))
    site.reconnect()
    assert keeper.result(timeout=60) == f"life {life.id} ended: {LifeEnd.IDLE}"
    assert len(_complaints(site)) == 1


def test_the_diary_of_a_life_can_be_read_while_it_goes_on(site: Site, beside: Callable):
    site.idle_window = 5.0
    keeper = beside(site.keep, "keeper")
    life = site.opened()
    eventually("there is a diary", lambda: site.diary)
    assert site.ledger.life(life.id).state is LifeState.OPEN
    assert "Life 1 of the pool is OPEN" in site.diary[0]
    keeper.result(timeout=60)
    assert "Life 1 of the pool is CLOSED" in site.diary[-1]


def test_a_keeper_without_a_ledger_leaves_once_its_lease_is_over(site: Site, beside: Callable):
    site.idle_window = LONG
    keeper = beside(site.keep, "keeper", seconds=2.0)
    life = site.opened()
    site.cut_off()
    with pytest.raises(Superseded):
        keeper.result(timeout=30)
    site.reconnect()
    assert site.pool(life).is_alive()
    site.pool(life).close(LifeEnd.ASKED, now())


def test_a_lease_is_lost_to_an_unreachable_ledger_only_when_its_time_is_over(site: Site):
    lease, start = KeptLease(site.ledger, KEEPER, "keeper", 30, site.said.append), now()
    assert lease.still_ours(start)
    site.cut_off()
    assert lease.still_ours(start + timedelta(seconds=29))
    assert not lease.still_ours(start + timedelta(seconds=30))
    site.reconnect()
    assert lease.still_ours(start + timedelta(seconds=31))  # nobody took it meanwhile


def test_a_lease_is_renewed_long_before_its_time_is_over(site: Site):
    lease, start = KeptLease(site.ledger, KEEPER, "keeper", 30, site.said.append), now()
    for second in range(0, 61, 4):
        assert lease.still_ours(start + timedelta(seconds=second))
        assert not site.ledger.hold(KEEPER, "rival", 30, start + timedelta(seconds=second + 3))


def _complaints(site: Site) -> list[str]:
    return [line for line in site.said if "Trying again" in line]
