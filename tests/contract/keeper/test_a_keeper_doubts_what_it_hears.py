"""A listing may be late or refused, an answer may be lost, a plan may change: a keeper looks twice before it acts."""

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.machines.errors import CloudUnreachable, Refused, Unclear
from infra.machines.spec import Listing
from infra.pool.keeper import SAY_AGAIN
from infra.pool.reconcile import IN_DOUBT_FOR, ORDER_DEADLINE, ORPHAN_GRACE
from infra.records import Ledger
from infra.states import MachineEnd, MachineState
from tests.contract.keeper.simulated import PROJECT, Site, plan

NEVER = 1e9


@pytest.fixture
def site(ledger: Ledger) -> Site:
    return Site(ledger, plan(machines=2))


def serving(site: Site, chunks: int = 12) -> set[str]:
    """Two machines at work."""
    site.batch_arrives("one", chunks)
    assert site.pass_until(lambda: len(site.hands.work) == 2, 300)
    return set(site.hands.work)


def test_a_listing_that_misses_machines_ends_none_of_them(site: Site):
    names = serving(site)
    site.cloud.overlooked = 3
    for _ in range(4):
        site.pass_time(2)
    assert {m.name for m in site.ledger.machines(open_only=True)} == names
    assert site.cloud.overlooked == 0
    assert {it.name for it in site.instances()} == names


def test_a_machine_that_lost_its_label_is_still_given_back(site: Site):
    names = serving(site, chunks=2)
    for it in site.instances():
        body = {"labels": {}, "labelFingerprint": it.resource.content["labelFingerprint"]}
        site.world.set_labels(PROJECT, it.zone, it.name, body, site.world.now)
    assert site.pass_until(lambda: not site.instances(), 300), site.said
    ends = {m.name: m.end for m in site.ledger.machines()}
    assert {ends[name] for name in names} == {MachineEnd.IDLE}


def test_a_listing_that_is_refused_is_told_to_whoever_waits(site: Site):
    def refused(pool: str) -> Listing:  # noqa: ARG001 - as the keeper asks
        raise Refused("The account lacks the permission compute.instances.list.")

    listing, site.cloud.listing = site.cloud.listing, refused  # type: ignore[method-assign]
    site.batch_arrives("one", 3)
    site.pass_time(2)
    details = site.ledger.life(site.life.id).details
    assert "lacks the permission" in details["waits"]
    assert details["for_good"]

    site.cloud.listing = listing  # type: ignore[method-assign]
    site.pass_time(2)
    assert site.ledger.life(site.life.id).details["waits"] == ""
    assert site.ledger.machines(open_only=True)


def test_an_order_whose_last_answer_was_lost_stays_in_doubt_until_it_cannot_bring_a_machine_any_more(site: Site):
    def lost(*_: object) -> None:
        raise Unclear("The answer was lost.")

    site.keeper.plan = site.plan.model_copy(update={"boot_deadline": NEVER})
    site.cloud.rent = lost  # type: ignore[assignment, method-assign]
    site.batch_arrives("one", 1)
    site.pass_time(2)
    [machine] = site.ledger.machines()
    last = ORDER_DEADLINE.total_seconds() - 20
    assert not site.pass_until(lambda: site.ledger.machine(machine.name).ended_at, last)
    site.keeper.threads.waiting.clear()  # type: ignore[attr-defined]
    assert not site.pass_until(lambda: site.ledger.machine(machine.name).ended_at, IN_DOUBT_FOR.total_seconds() - 40)
    assert site.pass_until(lambda: site.ledger.machine(machine.name).ended_at, 90)
    assert site.ledger.machine(machine.name).end is MachineEnd.NEVER_CREATED


def test_a_machine_that_was_asked_for_with_another_plan_is_not_ordered(site: Site):
    site.batch_arrives("one", 1)
    site.keeper.step(site.now)  # writes the row and hands the order over, which is never sent
    [before] = site.ledger.machines()
    site.start_keeper()
    spec = replace(site.keeper.market.spec, machine_type="g2-standard-8")
    site.keeper.market = replace(site.keeper.market, spec=spec)
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 600), site.said
    first, second = site.ledger.machines()
    assert (first.name, first.end) == (before.name, MachineEnd.SURPLUS)
    assert second.machine_type == "g2-standard-8"
    assert set(site.cloud.orders) == {second.name}


def test_nothing_is_rented_while_it_is_not_known_where_such_machines_are_offered(site: Site):
    known = site.keeper.market
    site.keeper.market = replace(known, zones=(), gpu=None, unknown=CloudUnreachable("No answer."))
    site.batch_arrives("one", 1)
    site.pass_time(2)
    life = site.ledger.life(site.life.id)
    assert not site.ledger.machines()
    assert life.details["waits"] == "The cloud cannot be asked where such machines are offered: No answer."
    assert not life.details["for_good"]

    site.keeper.market = known
    site.pass_time(2)
    assert site.ledger.life(site.life.id).details["waits"] == ""
    assert [m.gpu for m in site.ledger.machines()] == ["nvidia-l4"]


def test_a_complaint_that_comes_and_goes_is_said_once(site: Site):
    for _ in range(5):
        for trouble in ("one thing", "another"):
            site.keeper._complain(trouble, site.now)
            site.world.advance(site.world.now + 1)
    assert site.said == ["one thing", "another"]
    site.keeper._complain("one thing", site.now + SAY_AGAIN)
    assert site.said == ["one thing", "another", "one thing"]


def test_a_machine_of_a_row_that_is_over_goes_back_after_the_grace_time(site: Site):
    serving(site, chunks=40)
    [machine, _] = site.ledger.machines(open_only=True)
    site.ledger.move_machine(machine.id, MachineState.STOPPING, site.now, end=MachineEnd.LOST)
    site.ledger.move_machine(machine.id, MachineState.TERMINATED, site.now)
    grace = ORPHAN_GRACE + timedelta(seconds=30)
    assert site.pass_until(lambda: machine.name not in {it.name for it in site.instances()}, grace.total_seconds())
