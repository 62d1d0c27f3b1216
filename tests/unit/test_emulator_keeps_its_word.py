"""The emulated cloud as a value, its time in the test's own hands: what holds for every machine, whatever happens."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infra.emulator.complaints import ApiError
from infra.emulator.faults import UnknownFault
from infra.emulator.model import Instance, Operation, Status, Turn
from infra.emulator.world import Times, World

PROJECT = "project-1"
ZONES = ("us-central1-a", "us-central1-b", "us-east4-a")
TIMES = Times(provisioning=3, staging=2, boot=5, stopping=1, grace=10, notice=30)


LATER = {
    Status.PROVISIONING: {Status.STAGING, Status.RUNNING, Status.STOPPING, Status.TERMINATED},
    Status.STAGING: {Status.RUNNING, Status.STOPPING, Status.TERMINATED},
    Status.RUNNING: {Status.STOPPING, Status.TERMINATED},
    Status.STOPPING: {Status.TERMINATED},
    Status.TERMINATED: {Status.STOPPING},  # on its way to be deleted
}


def body(name: str, spot: bool = True, **scheduling: Any) -> dict[str, Any]:
    given = {"onHostMaintenance": "TERMINATE", "automaticRestart": False, **scheduling}
    if spot:
        given |= {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    image = "projects/debian-cloud/global/images/family/debian-12"
    return {
        "name": name,
        "machineType": "zones/any/machineTypes/g2-standard-4",
        "disks": [{"boot": True, "initializeParams": {"sourceImage": image, "diskType": "pd-balanced"}}],
        "scheduling": given,
    }


@pytest.fixture
def world() -> World:
    return World(TIMES)


@pytest.fixture
def rent(world: World) -> Callable[..., Instance]:
    def ask(name: str = "vm-1", zone: str = ZONES[0], now: float = 0.0, **details: Any) -> Instance:
        world.insert(PROJECT, zone, body(name, **details), now)
        return world.instance(PROJECT, zone, name)

    return ask


def test_a_machine_walks_at_the_pace_that_is_set(world: World, rent: Callable[..., Instance]):
    it = rent()
    seen = []
    for now in range(12):
        world.advance(float(now))
        seen.append((it.status, it.booted, it.insertion.done))
    starting = [(Status.PROVISIONING, False, False)] * 3 + [(Status.STAGING, False, False)] * 2
    assert seen == starting + [(Status.RUNNING, False, True)] * 5 + [(Status.RUNNING, True, True)] * 2


def test_everything_happens_at_its_own_time_however_late_somebody_looks(world: World, rent: Callable[..., Instance]):
    it = rent(maxRunDuration={"seconds": 60})
    world.advance(10_000.0)
    assert it.started == 5.0
    assert it.status is Status.GONE
    assert it.stopped == 5 + 60 + TIMES.stopping
    assert world.instances() == []
    assert [(op.type, op.inserted, op.ended) for op in world.operations(PROJECT)] == [
        ("insert", 0.0, 5.0),
        ("compute.instances.deferredDelete", 65.0, 66.0),
    ]


def test_a_guest_that_does_not_end_has_its_grace_and_no_more(world: World, rent: Callable[..., Instance]):
    world.has_guests = True
    told: list[tuple[float, Turn]] = []
    world.watch(lambda _, turn: told.append((world.now, turn)))
    stubborn, obedient = rent("stubborn"), rent("obedient")
    world.advance(20.0)
    for it in (stubborn, obedient):
        world.delete(PROJECT, ZONES[0], it.name, 20.0)
    world.guest_ended(obedient, 20.5)
    world.advance(100.0)
    assert told == [
        *[(10.0, Turn.BOOT)] * 2,
        *[(20.0, Turn.SHUTDOWN)] * 2,
        *[(21.0, Turn.POWER_OFF), (21.0, Turn.GONE)],
        *[(30.0, Turn.POWER_OFF), (30.0, Turn.GONE)],
    ]


def test_a_preemption_is_announced_then_done(world: World, rent: Callable[..., Instance]):
    it = rent()
    world.simulate_maintenance(PROJECT, ZONES[0], "vm-1", 20.0)
    assert (it.status, it.preempted) == (Status.RUNNING, True)
    world.advance(49.9)
    assert it.status is Status.RUNNING
    world.advance(50.0)
    assert it.status is Status.STOPPING
    world.advance(51.0)
    assert it.status is Status.GONE


def test_a_machine_may_wish_for_a_longer_notice(world: World, rent: Callable[..., Instance]):
    it = rent(preemptionNoticeDuration={"seconds": 120})
    world.simulate_maintenance(PROJECT, ZONES[0], "vm-1", 20.0)
    world.advance(139.0)
    assert it.status is Status.RUNNING
    world.advance(141.0)
    assert it.status is Status.GONE


def test_a_preemption_without_notice_overtakes_one_with_notice(world: World, rent: Callable[..., Instance]):
    it = rent()
    world.advance(20.0)
    world.preempt(it, 30.0, 20.0)
    world.preempt(it, None, 21.0)
    assert it.status is Status.GONE
    world.advance(100.0)
    assert [op.type for op in world.operations(PROJECT)] == ["insert", "compute.instances.preempted"]


def test_a_machine_that_makes_room_early_was_preempted_all_the_same(world: World, rent: Callable[..., Instance]):
    it = rent()
    world.advance(20.0)
    world.preempt(it, 30.0, 20.0)
    world.power_off(it, 25.0)
    world.advance(26.0)
    assert it.status is Status.GONE
    world.advance(100.0)
    assert [op.type for op in world.operations(PROJECT)] == ["insert", "compute.instances.preempted"]


def test_a_stopped_machine_counts_for_no_quota(world: World, rent: Callable[..., Instance]):
    rent(spot=False)
    world.advance(20.0)
    assert world.usage(PROJECT)["", "GPUS_ALL_REGIONS"] == 1
    world.stop(PROJECT, ZONES[0], "vm-1", 20.0)
    world.advance(30.0)
    assert world.usage(PROJECT) == {}


def test_old_operations_are_forgotten(world: World, rent: Callable[..., Instance]):
    rent()
    world.delete(PROJECT, ZONES[0], "vm-1", 20.0)
    world.advance(15 * 24 * 3600.0)
    rent("vm-2", now=15 * 24 * 3600.0)
    assert [op.type for op in world.operations(PROJECT)] == ["insert"]


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class Cloud(RuleBasedStateMachine):
    """Anybody does anything, in any order and at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.world = World(TIMES)
        self.begun: list[Operation] = []
        self.walks: dict[int, Status] = {}

    def note(self, operation: Operation) -> None:
        self.begun.append(operation)

    @rule(seconds=strategies.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 40.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.world.advance(self.now)

    @rule(
        number=strategies.integers(0, 5),
        zone=strategies.sampled_from(ZONES),
        spot=strategies.booleans(),
        limit=strategies.sampled_from([None, 60]),
        request=strategies.integers(0, 3),
    )
    def somebody_rents(self, number: int, zone: str, spot: bool, limit: int | None, request: int) -> None:
        details: dict[str, Any] = {} if limit is None else {"maxRunDuration": {"seconds": limit}}
        before = {it.id for it in self.world.instances()}
        request_id, there = f"{zone}-{number}-{request}", {(it.zone, it.name) for it in self.world.instances()}
        try:
            operation = self.world.insert(PROJECT, zone, body(f"vm-{number}", spot, **details), self.now, request_id)
        except ApiError:  # 409, and nothing else is to be refused here
            assert (zone, f"vm-{number}") in there
            return
        known = operation.name in {it.name for it in self.begun}
        made = {it.id for it in self.world.instances()} - before
        assert len(made) == (0 if known else 1)
        self.note(operation)

    @rule(data=strategies.data())
    def somebody_gives_back(self, data: strategies.DataObject) -> None:
        if found := self.world.instances():
            it = data.draw(strategies.sampled_from(found))
            self.note(self.world.delete(PROJECT, it.zone, it.name, self.now))

    @rule(data=strategies.data())
    def somebody_stops_one(self, data: strategies.DataObject) -> None:
        if found := self.world.instances():
            it = data.draw(strategies.sampled_from(found))
            self.note(self.world.stop(PROJECT, it.zone, it.name, self.now))

    @rule(data=strategies.data(), notice=strategies.sampled_from([None, 0.0, 30.0, 120.0]))
    def the_cloud_takes_one(self, data: strategies.DataObject, notice: float | None) -> None:
        if found := self.world.instances():
            it = data.draw(strategies.sampled_from(found))
            try:
                self.world.preempt(it, notice, self.now)
            except UnknownFault:
                assert not it.spot or it.status in (Status.STOPPING, Status.TERMINATED)

    @rule(data=strategies.data())
    def one_switches_itself_off(self, data: strategies.DataObject) -> None:
        if found := self.world.instances():
            self.world.power_off(data.draw(strategies.sampled_from(found)), self.now)

    @rule(
        order=strategies.sampled_from(
            [
                {"fault": "stockout", "zone": ZONES[0], "times": 1},
                {"fault": "stockout", "zone": ZONES[1], "seconds": 5, "zones_available": [ZONES[0]]},
                {"fault": "quota", "metric": "GPUS_ALL_REGIONS", "limit": 2},
                {"fault": "quota", "metric": "GPUS_ALL_REGIONS"},
                {"fault": "delete_fails", "times": 1},
                {"fault": "preempt_early", "times": 1},
                {"fault": "no_boot", "times": 1},
                {"fault": "slow_boot", "times": 1, "delay": 100},
                {"fault": "preempt", "all": True, "notice": 30},
            ]
        )
    )
    def trouble_comes(self, order: dict[str, Any]) -> None:
        self.world.order(order, self.now)

    @invariant()
    def machines_walk_as_they_may(self) -> None:
        for it in self.world.instances():
            last = self.walks.get(it.id, it.status)
            assert it.status == last or it.status in LATER[last]
            self.walks[it.id] = it.status
            assert it.resource.content["status"] == it.status

    @invariant()
    def usage_is_what_there_is(self) -> None:
        counted = [it for it in self.world.instances() if it.status is not Status.TERMINATED]
        assert self.world.usage(PROJECT).get(("", "GPUS_ALL_REGIONS"), 0) == len(counted)

    @invariant()
    def time_does_not_go_backwards_for_operations(self) -> None:
        for operation in self.world.operations(PROJECT):
            assert operation.ended is None or operation.inserted <= operation.ended <= self.now

    def teardown(self) -> None:
        """Whatever happened: in the end every operation is done, and what is told to go goes."""
        self.world.order({"fault": "delete_fails", "off": True}, self.now)
        for it in self.world.instances():
            self.world.delete(PROJECT, it.zone, it.name, self.now)
        self.world.advance(self.now + 200.0)
        assert self.world.instances() == []
        assert all(operation.done for operation in self.world.operations(PROJECT))
        assert all(operation.done for operation in self.begun)


TestWhateverHappens = Cloud.TestCase
