"""A cloud may be slow, in trouble, or forbid a question: a step ends soon, and no machine is forgotten."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from infra.machines.errors import CloudError, CloudUnreachable, Refused
from infra.machines.patience import Patience
from infra.pool.keeper import ASKS_FOR, SENT_WITHIN
from infra.pool.reconcile import IN_DOUBT_FOR
from infra.records import Ledger
from infra.states import LifeEnd, MachineEnd, MachineState
from tests.contract.keeper.simulated import PROJECT, Site, plan

MACHINES = 6
SLOW = 4.0
AWAY = CloudUnreachable("Compute Engine does not answer.")


@dataclass
class Watch:
    """A clock that only moves when something takes time."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def site(ledger: Ledger) -> Site:
    return Site(ledger, plan(machines=MACHINES))


@pytest.fixture
def watch(site: Site) -> Watch:
    watch = site.keeper.clock = Watch()
    return watch


@pytest.fixture
def names(site: Site) -> set[str]:
    """Machines at work."""
    site.batch_arrives("one", 40)
    assert site.pass_until(lambda: len(site.hands.work) == MACHINES, 300)
    return set(site.hands.work)


@pytest.fixture
def asked(site: Site, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the cloud, which is slow from now on, was asked for each machine."""
    asked = Counter[str]()

    def slowly(what: Callable[..., Any], name: str, *rest: Any) -> Any:
        asked[name] += 1
        watch.now += SLOW
        return what(name, *rest)

    for question in ("instance", "why_gone", "console"):
        monkeypatch.setattr(site.cloud, question, partial(slowly, getattr(site.cloud, question)))
    return asked


def test_a_step_asks_a_slow_cloud_for_so_long_and_the_next_one_goes_on(
    site: Site, names: set[str], watch: Watch, asked: Counter[str]
):
    site.cloud.overlooked = 3 * MACHINES
    steps = 0
    while set(asked) < names:
        before = watch.now
        site.pass_time(1)
        steps += 1
        assert watch.now - before < ASKS_FOR + 2 * SLOW
    assert 1 < steps <= MACHINES
    assert {m.name for m in site.ledger.machines(open_only=True)} == names, "what was not asked for is not gone"


def test_a_machine_that_cannot_be_asked_for_does_not_keep_the_others_waiting(
    site: Site, names: set[str], monkeypatch: pytest.MonkeyPatch
):
    asked, sick = Counter[str](), sorted(names)[0]

    def trouble(ask: Callable[..., Any], name: str, zone: str) -> Any:
        asked[name] += 1
        if name == sick:
            raise AWAY
        return ask(name, zone)

    monkeypatch.setattr(site.cloud, "why_gone", partial(trouble, site.cloud.why_gone))
    site.cloud.overlooked = 3
    site.pass_time(1)
    assert set(asked) == {sick}, "it may be about the whole cloud: the others would wait for nothing"
    site.pass_time(1)
    assert set(asked) == names
    assert {m.name for m in site.ledger.machines(open_only=True)} == names


def test_consoles_are_read_only_while_there_is_time(site: Site, watch: Watch, asked: Counter[str]):
    site.hands._joined = list  # type: ignore[method-assign] # nobody ever joins
    site.keeper.plan = site.plan.model_copy(update={"least_machines": MACHINES})
    site.batch_arrives("one", 40)
    assert site.pass_until(lambda: len(site.ledger.machines()) == MACHINES, 60)
    assert site.pass_until(lambda: any(m.end for m in site.ledger.machines()), 300)
    ends = [m.end for m in site.ledger.machines()][:MACHINES]
    assert ends == [MachineEnd.BOOT_FAILED] * MACHINES, "all at once"
    assert 0 < sum(asked.values()) <= ASKS_FOR / SLOW + 1
    assert watch.now > 0


def test_a_keeper_that_may_not_ask_about_operations_goes_on_and_says_so(site: Site, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise Refused("The account lacks the permission compute.zoneOperations.get.")

    monkeypatch.setattr(site.cloud, "outcome", refused)
    for zone in site.plan.zones[1:]:
        site.world.order({"fault": "stockout", "zone": zone}, site.world.now)
    site.batch_arrives("one", 2)
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 900), site.said
    assert any("lacks the permission compute.zoneOperations.get" in line for line in site.said)


def test_an_order_that_waited_for_too_long_is_not_sent(site: Site, watch: Watch):
    """Nobody would expect its machine any more."""
    assert Patience().total + Patience().request + SENT_WITHIN < IN_DOUBT_FOR.total_seconds()
    site.batch_arrives("one", 1)
    site.keeper.step(site.now)
    [machine] = site.ledger.machines()
    watch.now += SENT_WITHIN + 1
    site.threads.do_all()
    assert site.cloud.orders == {}
    assert site.instances() == []
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 300), site.said
    assert site.cloud.orders == {machine.name: 1}


def test_machines_that_lost_their_labels_are_given_back_without_ledger(site: Site, names: set[str]):
    for it in site.instances():
        _label(site, it, {})
    site.keeper.clear_cloud()
    site.world.advance(site.world.now + 60)
    assert names
    assert site.instances() == []


@pytest.mark.parametrize("sick", ["listing", "one machine"])
def test_what_can_be_given_back_is_given_back_before_the_trouble_is_told(
    site: Site, names: set[str], monkeypatch: pytest.MonkeyPatch, sick: str
):
    give_back, stays = site.cloud.give_back, min(names)

    def sometimes(name: str, zone: str) -> Any:
        return _fail(AWAY) if name == stays else give_back(name, zone)

    if sick == "listing":
        monkeypatch.setattr(site.cloud, "listing", partial(_fail, AWAY))
    else:
        monkeypatch.setattr(site.cloud, "give_back", sometimes)
    with pytest.raises(CloudUnreachable):
        site.keeper.clear_cloud()
    site.world.advance(site.world.now + 60)
    assert {it.name for it in site.instances()} == (set() if sick == "listing" else {stays})


def test_a_machine_that_was_ordered_a_moment_ago_is_known(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.batch_arrives("one", 1)
    site.keeper.step(site.now)
    site.threads.do_all()
    assert site.instances()
    monkeypatch.setattr(site.cloud, "listing", partial(_fail, AWAY))
    with pytest.raises(CloudUnreachable):
        site.keeper.clear_cloud()
    site.world.advance(site.world.now + 60)
    assert site.instances() == []


def test_a_life_is_not_closed_while_a_machine_of_its_name_is_there(site: Site, names: set[str]):
    """Its row is over, and it has lost the label of its life."""
    row = site.ledger.machine(min(names))
    site.ledger.move_machine(row.id, MachineState.STOPPING, site.now, end=MachineEnd.LOST)
    site.ledger.move_machine(row.id, MachineState.TERMINATED, site.now)
    [it] = [it for it in site.instances() if it.name == row.name]
    _label(site, it, {key: value for key, value in it.labels.items() if key != "spotlift-life"})
    site.ledger.close_life(site.life.id, LifeEnd.ASKED, site.now)
    closed = False
    while not closed:
        site.world.advance(site.world.now + 2)
        site.threads.do_all()
        closed = site.keeper.close_step(site.now)
    assert site.instances() == []


def test_a_complaint_that_is_numbered_by_the_cloud_is_said_once(site: Site):
    for number in range(3):
        site.keeper._complain(f"Internal error. (Code: '{number}ABC')", site.now)
    assert site.said == ["Internal error. (Code: '0ABC')"]


def _label(site: Site, it: Any, labels: dict[str, str]) -> None:
    body = {"labels": labels, "labelFingerprint": it.resource.content["labelFingerprint"]}
    site.world.set_labels(PROJECT, it.zone, it.name, body, site.world.now)


def _fail(error: CloudError, *_: object) -> None:
    raise error
