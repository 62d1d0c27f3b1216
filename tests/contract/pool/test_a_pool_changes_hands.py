"""A keeper may lose its lease, its ledger or its life; machines are neither orphaned nor taken from a successor."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows import pool as flow
from flows.leases import KEEPER, KeptLease
from flows.pool import PoolFailed, Superseded
from infra.pool.keeper import Keeper
from infra.records import LedgerUnreachable
from infra.states import LifeEnd, LifeState, MachineEnd, MachineState
from tests.contract.pool.conftest import now
from tests.contract.pool.site import LONG, SOON, Site, site_in
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as site:
        yield site


@pytest.fixture
def beside() -> Iterator[Callable[..., "Future[str]"]]:
    """Call it with a function for its future, while the test goes on."""
    with ThreadPoolExecutor() as threads:
        yield threads.submit


def test_a_keeper_that_lost_its_lease_leaves_the_life_to_its_successor(site: Site, beside: Callable):
    site.idle_window = LONG
    site.batch_arrives()
    first = beside(site.keep, "first", seconds=2.0)
    life = site.rented()
    assert site.ledger.hold(KEEPER, "second", 30, now() + timedelta(hours=1))  # as if the first had been frozen
    with pytest.raises(Superseded):
        first.result(timeout=30)
    assert site.ledger.life(life.id).state is LifeState.OPEN
    assert site.hub(life).is_alive()
    [machine] = site.ledger.machines(life.id, open_only=True)
    assert site.statuses() == ["RUNNING"]

    site.idle_window = SOON
    site.batch_is_cancelled()
    assert site.keep("second") == f"life {life.id} ended: {LifeEnd.IDLE}"
    assert f"life {life.id} of the pool goes on with this keeper" in site.said
    assert [m.name for m in site.ledger.machines()] == [machine.name]
    assert site.statuses() == []
    assert site.processes() == []
    assert [row.end for row in site.ledger.lives()] == [LifeEnd.IDLE]


def test_a_life_that_was_opened_elsewhere_is_not_taken_over(site: Site):
    life = site.ledger.open_life(now(), details={"cloud": "google", "project": "theirs"})
    assert life is not None
    with pytest.raises(PoolFailed, match="opened with cloud = google, project = theirs, and its machines are there"):
        site.keep("keeper")
    assert site.ledger.life(life.id).state is LifeState.OPENING


def test_a_keeper_that_fails_after_it_lost_its_lease_leaves_everything_as_it_is(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    def step(keeper: Keeper, _: datetime) -> None:
        assert site.ledger.hold(KEEPER, "rival", 30, now() + timedelta(hours=1))
        eventually("that is noticed", lambda: not site.lease.still_ours(now()))
        raise RuntimeError(f"life {keeper.life.id}")

    monkeypatch.setattr(Keeper, "step", step)
    with pytest.raises(RuntimeError, match="life 1"):
        site.keep("keeper", seconds=2.0)
    [life] = site.ledger.lives()
    assert life.state in (LifeState.OPENING, LifeState.OPEN)
    assert site.hub(life).is_alive()


def test_a_life_whose_scheduler_died_with_its_keeper_is_closed_and_another_begins(site: Site, beside: Callable):
    site.idle_window = LONG
    site.batch_arrives()
    first = beside(site.keep, "first", seconds=2.0)
    life = site.rented()
    assert site.ledger.hold(KEEPER, "second", 30, now() + timedelta(hours=1))
    with pytest.raises(Superseded):
        first.result(timeout=30)
    scheduler = site.hub(life).processes.find("scheduler")
    assert scheduler is not None
    os.kill(scheduler.pid, signal.SIGKILL)
    eventually("it is dead", lambda: not site.hub(life).is_alive())

    site.idle_window = SOON
    site.batch_is_cancelled()
    assert site.keep("second") == f"life {life.id + 1} ended: {LifeEnd.IDLE}"
    assert [row.end for row in site.ledger.lives()] == [LifeEnd.REPLACED, LifeEnd.IDLE]
    assert {row.state for row in site.ledger.lives()} == {LifeState.CLOSED}
    assert {m.end for m in site.ledger.machines()} == {MachineEnd.POOL_CLOSED}
    assert site.statuses() == []
    assert site.processes() == []


def test_a_scheduler_that_dies_ends_the_life_and_every_machine_goes_back(site: Site, beside: Callable):
    site.idle_window = LONG
    site.batch_arrives()
    keeper = beside(site.keep, "keeper")
    life = site.rented()
    scheduler = site.hub(life).processes.find("scheduler")
    assert scheduler is not None
    os.kill(scheduler.pid, signal.SIGKILL)
    with pytest.raises(PoolFailed, match="the Dask scheduler has died"):
        keeper.result(timeout=60)
    assert site.ledger.life(life.id).end is LifeEnd.FAILED
    assert site.statuses() == []
    assert site.processes() == []


def test_a_scheduler_that_never_listens_ends_the_life(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flow, "OPENS_WITHIN", timedelta(seconds=-1))
    with pytest.raises(PoolFailed, match="did not listen"):
        site.keep("keeper")
    [life] = site.ledger.lives()
    assert (life.state, life.end) == (LifeState.CLOSED, LifeEnd.FAILED)


def test_machines_are_given_back_also_when_the_ledger_cannot_be_reached(site: Site, beside: Callable):
    site.idle_window = LONG
    site.batch_arrives()
    keeper = beside(site.keep, "keeper", seconds=30.0)
    life = site.rented()
    scheduler = site.hub(life).processes.find("scheduler")
    assert scheduler is not None
    site.cut_off()
    os.kill(scheduler.pid, signal.SIGKILL)
    with pytest.raises(LedgerUnreachable):
        keeper.result(timeout=60)
    eventually("every machine is gone", lambda: site.statuses() == [])
    assert site.processes() == []

    site.reconnect()
    assert site.ledger.life(life.id).state is LifeState.OPEN
    site.idle_window = SOON
    site.batch_is_cancelled()
    lease = KeptLease(site.ledger, KEEPER, "keeper", 30, site.said.append)
    lease.let_go()
    site.keep("successor")
    assert site.ledger.life(life.id).state is LifeState.CLOSED
    assert site.ledger.machines(open_only=True) == []
    assert not site.hub(life).folder.exists()


def test_a_machine_that_cannot_be_given_back_in_time_is_left_to_the_next_keeper(
    site: Site, beside: Callable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(flow, "CLOSES_WITHIN", timedelta(seconds=1))
    site.idle_window = 2.0
    site.batch_arrives()
    keeper = beside(site.keep, "keeper")
    life = site.rented()
    site.cloud.remote.delete_fails(seconds=600)
    site.batch_is_cancelled()
    with pytest.raises(PoolFailed, match="not every machine could be given back"):
        keeper.result(timeout=60)
    assert site.ledger.life(life.id).state is LifeState.CLOSING
    assert site.statuses() == ["RUNNING"]

    site.cloud.remote.calm()
    monkeypatch.setattr(flow, "CLOSES_WITHIN", timedelta(seconds=60))
    site.idle_window = SOON
    site.keep("keeper")
    assert site.ledger.life(life.id).state is LifeState.CLOSED
    assert site.statuses() == []


def test_a_keeper_outlives_a_short_absence_of_the_ledger_and_says_so_once(site: Site, beside: Callable):
    site.idle_window = 5.0
    keeper = beside(site.keep, "keeper")
    life = site.opened()
    site.cut_off()
    eventually("it complains", lambda: _complaints(site))
    site.reconnect()
    assert keeper.result(timeout=60) == f"life {life.id} ended: {LifeEnd.IDLE}"
    assert len(_complaints(site)) == 1


def test_a_keeper_without_a_ledger_leaves_once_its_lease_is_over(site: Site, beside: Callable):
    site.idle_window = LONG
    keeper = beside(site.keep, "keeper", seconds=2.0)
    life = site.opened()
    site.cut_off()
    with pytest.raises(Superseded):
        keeper.result(timeout=30)
    site.reconnect()
    assert site.hub(life).is_alive()


def test_people_see_diary_machines_and_bill_while_it_goes_on_and_hear_of_events(site: Site, beside: Callable):
    site.idle_window = 6.0
    site.batch_arrives()
    keeper = beside(site.keep, "keeper")
    life = site.rented()
    diary, machines, bill = (f"pool-life-{life.id}-{what}" for what in ("diary", "machines", "bill"))
    eventually("all of it is shown", lambda: {diary, machines, bill, "pool"} <= {key for key, _ in site.shown})
    site.batch_is_cancelled()
    keeper.result(timeout=60)
    last = dict(site.shown)
    assert f"Life {life.id} of the pool is CLOSED" in last[diary]
    assert "POOL_CLOSED" in last[machines] or "BOOT_FAILED" in last[machines] or "IDLE" in last[machines]
    assert "were paid for: $" in last[bill]
    assert last["pool"] == "Now: no machine is rented."
    [machine] = site.ledger.machines(life.id)
    assert ("spotlift.machine.rented", f"spotlift.machine.{machine.id}") in site.told
    assert ("spotlift.machine.returned", f"spotlift.machine.{machine.id}") in site.told
    assert machine.state is MachineState.TERMINATED


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


def test_a_lease_is_kept_while_its_holder_is_busy_and_not_taken_again_once_it_is_lost(site: Site):
    lease = KeptLease(site.ledger, KEEPER, "keeper", 0.4, site.said.append)
    assert lease.still_ours(now())
    later = now() + timedelta(seconds=1)
    with lease.kept():
        eventually("it is renewed again and again", lambda: site.lease_until() > later)
        assert site.ledger.hold(KEEPER, "rival", 30, now() + timedelta(hours=1))
        eventually("it notices", lambda: not lease.still_ours(now()))
        site.ledger.let_go(KEEPER, "rival")
    assert site.ledger.lease(KEEPER) is None


def _complaints(site: Site) -> list[str]:
    return [line for line in site.said if "Trying again" in line]
