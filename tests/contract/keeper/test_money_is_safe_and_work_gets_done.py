"""Whatever goes wrong, in whatever order: no money is lost, and the work is done once there is capacity.

A state machine drives the real keeper, the real ledger and the emulator's cloud through simulated hours, with faults
of every kind at random. `HYPOTHESIS_PROFILE=long` drives it for thousands of steps.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infra.machines.spec import MachineSpec, Order
from infra.pool.reconcile import IN_DOUBT_FOR, ORPHAN_GRACE
from infra.records import Ledger
from infra.states import BatchState, LifeEnd, MachineState
from tests.contract.keeper.simulated import PROJECT, ZONES, Site, plan

SLACK = 60.0
"""Seconds that a keeper may need on top of a grace time, when it looks every thirty seconds at the least."""
zones = st.sampled_from(ZONES)
times = st.integers(1, 4)


class TroubledPool(RuleBasedStateMachine):
    """A pool, and everything that may happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        ledger = Ledger(f"sqlite:///{Path(self.folder.name)}/ledger.db")
        ledger.migrate()
        self.site = Site(ledger, plan())
        self.batches = 0
        self.strangers = 0
        self.unknown_since: dict[str, float] = {}

    @initialize(chunks=st.integers(1, 12))
    def there_is_work(self, chunks: int) -> None:
        self.arrive(chunks)

    @rule(chunks=st.integers(1, 12))
    def arrive(self, chunks: int) -> None:
        self.batches += 1
        self.site.batch_arrives(f"batch-{self.batches}", chunks)

    @rule(seconds=st.sampled_from([1, 3, 10, 30]), looks=st.integers(1, 5))
    def time_passes(self, seconds: int, looks: int) -> None:
        for _ in range(looks):
            self.site.pass_time(seconds)
            self._watch_strangers()

    @rule(zone=zones, seconds=st.integers(5, 300), named=st.booleans())
    def a_zone_is_dry(self, zone: str, seconds: int, named: bool) -> None:
        elsewhere = {"zones_available": [z for z in ZONES if z != zone]} if named else {}
        self._fault(fault="stockout", zone=zone, seconds=seconds, **elsewhere)

    @rule(limit=st.integers(0, 2))
    def a_quota_is_small(self, limit: int) -> None:
        self._fault(fault="quota", metric="GPUS_ALL_REGIONS", limit=limit)

    @rule(fault=st.sampled_from(["rate_limit", "unavailable", "lose_answer", "no_boot", "preempt_early"]), times=times)
    def the_cloud_stumbles(self, fault: str, times: int) -> None:
        self._fault(fault=fault, times=times)

    @rule(times=times, how=st.sampled_from(["operation", "http"]))
    def deleting_fails(self, times: int, how: str) -> None:
        self._fault(fault="delete_fails", times=times, how=how)

    @rule(zone=zones, seconds=st.integers(5, 120))
    def a_zone_does_not_answer(self, zone: str, seconds: int) -> None:
        self._fault(fault="unreachable", zone=zone, seconds=seconds)

    @rule(data=st.data(), notice=st.sampled_from([None, 0, 30]))
    def a_machine_is_preempted(self, data: Any, notice: float | None) -> None:
        names = [it.name for it in self.site.instances() if it.status.value == "RUNNING" and not it.preempted]
        if names:
            self._fault(fault="preempt", name=data.draw(st.sampled_from(names)), notice=notice)

    @rule(notice=st.sampled_from([None, 30]))
    def all_machines_are_preempted(self, notice: float | None) -> None:
        self._fault(fault="preempt", all=True, notice=notice)

    @rule(calls_arrive=st.booleans())
    def the_keeper_is_killed(self, calls_arrive: bool) -> None:
        """Whatever it had begun is lost, or arrives although nobody hears the answer."""
        if calls_arrive:
            self.site.threads.do_all()
        self.site.start_keeper()

    @rule(times=times)
    def the_listing_misses_machines(self, times: int) -> None:
        self.site.cloud.overlooked = times

    @rule(zone=zones)
    def somebody_leaves_a_machine_with_our_label(self, zone: str) -> None:
        self.strangers += 1
        spec = self.site.keeper.market.spec
        self._insert(spec, Order(f"stranger-{self.strangers}", zone, "", {"spotlift-pool": "sim"}))

    @invariant()
    def there_are_never_more_machines_than_allowed(self) -> None:
        ours = [it for it in self.site.instances() if not it.name.startswith("stranger")]
        assert len(ours) <= self.site.plan.machines
        assert len(self.site.ledger.machines(open_only=True)) <= self.site.plan.machines

    @invariant()
    def no_order_made_two_machines(self) -> None:
        names = [it.name for it in self.site.instances()]
        assert len(names) == len(set(names))

    def teardown(self) -> None:
        """Once nothing goes wrong any more, the work is done and everything goes back."""
        self._mend()
        site = self.site
        assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 7200, step=5), self._story()
        assert {batch.state for batch in site.ledger.batches()} == {BatchState.DONE}
        window = float(site.plan.idle_window)
        assert site.pass_until(self._all_gone, window + 300), self._story()
        site.ledger.close_life(site.life.id, LifeEnd.IDLE, site.now)
        assert site.keeper.close_step(site.now)
        site.ledger.life_is_closed(site.life.id, site.now)
        assert all(m.end is not None for m in site.ledger.machines())
        site.ledger.close()
        self.folder.cleanup()

    def _all_gone(self) -> bool:
        return not self.site.instances() and not self.site.ledger.machines(open_only=True)

    def _watch_strangers(self) -> None:
        """No machine is without a row for longer than the grace time, unless the cloud would not let it go."""
        known = {m.name for m in self.site.ledger.machines(open_only=True)}
        now, faults = self.site.world.now, self.site.world.faults
        unknown = {it.name: it for it in self.site.instances() if it.name not in known}
        troubled = any(
            turns.left(now)
            for turns in (*faults.unreachable.values(), faults.failing_deletes, faults.failing_deletes_http)
        )  # fmt: skip
        if troubled or faults.unavailable.left(now) or faults.rate_limit.left(now):
            self.unknown_since = {}
        self.unknown_since = {name: self.unknown_since.get(name, now) for name in unknown}
        longest = max((now - since for since in self.unknown_since.values()), default=0.0)
        assert longest <= max(ORPHAN_GRACE, IN_DOUBT_FOR).total_seconds() + SLACK, self._story()

    def _fault(self, **order: Any) -> None:
        self.site.world.order(order, self.site.world.now)

    def _insert(self, spec: MachineSpec, order: Order) -> None:
        faults = self.site.world.faults
        kept = faults.lost_answers, faults.rate_limit, faults.unavailable
        never = type(faults.rate_limit)(times=0)
        faults.lost_answers = faults.rate_limit = faults.unavailable = never
        self.site.cloud.rent(spec, order)
        faults.lost_answers, faults.rate_limit, faults.unavailable = kept

    def _mend(self) -> None:
        for zone in ZONES:
            self._fault(fault="stockout", zone=zone, off=True)
            self._fault(fault="unreachable", zone=zone, off=True)
        self._fault(fault="quota", metric="GPUS_ALL_REGIONS", limit=None)
        for fault in ("rate_limit", "unavailable", "lose_answer", "no_boot", "preempt_early"):
            self._fault(fault=fault, off=True)
        for how in ("operation", "http"):
            self._fault(fault="delete_fails", how=how, off=True)

    def _story(self) -> str:
        rows = [f"{m.name} {m.state} {m.end} {m.operation}" for m in self.site.ledger.machines(open_only=True)]
        there = [f"{it.name} {it.status} {it.zone}" for it in self.site.instances()]
        return "\n".join([f"at {self.site.world.now}", *self.site.said[-40:], "rows:", *rows, "cloud:", *there])


LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
EXAMPLES, STEPS = (150, 60) if LONG else (10, 25)
pytestmark = [pytest.mark.timeout(3600)] if LONG else []

TestTroubledPool = TroubledPool.TestCase
TestTroubledPool.settings = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=EXAMPLES, stateful_step_count=STEPS
)


def test_the_cloud_here_has_what_the_tests_rent() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        ledger.migrate()
        site = Site(ledger, plan())
        site.batch_arrives("one", 1)
        assert site.pass_until(lambda: not ledger.batches(open_only=True), 300)
        assert [m.state for m in ledger.machines()] == [MachineState.RUNNING]
        assert {it.project for it in site.instances()} == {PROJECT}
        ledger.close()
