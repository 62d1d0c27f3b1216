"""Machines that nobody uses, that never boot, or that the plan no longer allows cost no more than they must."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.machines.errors import Refused
from infra.machines.spec import MachineSpec
from infra.pool.bill import spent
from infra.pool.books import as_rented, recipe_of
from infra.pool.keeper import DAY
from infra.pool.zones import BOOT_FAILURES_FOR_GOOD
from infra.records import Ledger
from infra.states import MachineEnd, MachineState
from tests.contract.keeper.simulated import BEGIN, IMAGE, ZONES, Site, plan

HOUR = 3600.0


@pytest.fixture
def site(ledger: Ledger) -> Site:
    return Site(ledger, plan())


def serving(site: Site, machines: int) -> None:
    """So many machines have checked in, and there is work for hours."""
    site.batch_arrives("long", 500)
    assert site.pass_until(lambda: len(site.hands.work) == machines, 300), site.said


def never_boots(site: Site) -> None:
    site.world.order({"fault": "no_boot", "seconds": 100 * HOUR}, site.world.now)


def ends(site: Site) -> list[MachineEnd | None]:
    return [machine.end for machine in site.ledger.machines()]


def test_work_that_nobody_hands_out_keeps_one_machine_and_rents_no_other_again_and_again(site: Site):
    site.hands.toil = lambda _: None  # type: ignore[assignment, method-assign]
    site.batch_arrives("nobody-sends-it", 100)
    site.pass_until(lambda: False, HOUR, step=5)
    machines = site.ledger.machines()
    assert len(machines) <= site.plan.machines
    assert [m.end for m in machines if m.end is not None] == [MachineEnd.IDLE] * (len(machines) - 1)


def test_a_keeper_with_a_smaller_plan_gives_back_what_is_too_much(site: Site):
    serving(site, 3)
    site.plan = plan(machines=1)
    site.start_keeper()
    assert site.pass_until(lambda: len(site.instances()) == 1, 60), site.said
    assert site.pass_until(lambda: len(site.ledger.machines(open_only=True)) == 1, 60)
    site.pass_until(lambda: False, 300)
    assert [end for end in ends(site) if end] == [MachineEnd.SURPLUS] * 2
    [stays] = site.ledger.machines(open_only=True)
    assert stays.state is MachineState.RUNNING


def test_one_batch_after_the_other_does_not_pay_for_machines_that_never_boot(site: Site):
    never_boots(site)
    for number in range(10):
        site.batch_arrives(f"batch-{number}", 1)
        site.pass_until(lambda: False, HOUR / 2, step=60)
    assert set(ends(site)) <= {MachineEnd.BOOT_FAILED, None}
    assert len(site.ledger.machines()) < 16  # within five hours
    assert "in a row never checked in" in site.ledger.life(site.life.id).details["waits"]


def test_what_never_booted_says_nothing_about_machines_that_are_ordered_otherwise(site: Site):
    never_boots(site)
    site.batch_arrives("one", 1)

    def hopeless() -> bool:
        return bool(site.ledger.life(site.life.id).details.get("for_good"))

    assert site.pass_until(hopeless, HOUR), site.said
    assert ends(site) == [MachineEnd.BOOT_FAILED] * BOOT_FAILURES_FOR_GOOD
    site.world.order({"fault": "no_boot", "off": True}, site.world.now)
    site.start_keeper()
    site.pass_time(2)
    assert hopeless(), "a keeper that is started again knows no better"

    site.start_keeper()
    spec = replace(site.keeper.market.spec, startup_script="mended")
    site.keeper.market = replace(site.keeper.market, spec=spec)
    site.pass_time(2)
    assert not hopeless()
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 300), site.said


def test_a_recipe_is_what_decides_whether_a_machine_comes_up():
    spec = MachineSpec("g2-standard-4", None, IMAGE, "", DAY)
    told = {"spotlift-image": "worker:1", "spotlift-scheduler": "tls://10.0.0.2:8786", "spotlift-audience": "life-1"}
    same = {**told, "spotlift-scheduler": "tls://10.0.0.2:9999", "spotlift-audience": "life-2"}
    assert recipe_of(spec, told) == recipe_of(replace(spec), same)
    for other in (
        recipe_of(replace(spec, machine_type="n1-standard-4"), told),
        recipe_of(spec, {**told, "spotlift-image": "worker:2"}),
        recipe_of(spec, {**told, "spotlift-scheduler": "tls://10.0.0.3:8786"}),
    ):
        assert other != recipe_of(spec, told)


def test_a_cloud_that_will_never_say_where_machines_are_offered_is_told_at_once(site: Site):
    known = site.keeper.market
    site.keeper.market = replace(known, zones=(), gpu=None, unknown=Refused("The account may not list machine types."))
    site.batch_arrives("one", 1)
    site.pass_time(2)
    details = site.ledger.life(site.life.id).details
    assert "may not list machine types" in details["waits"]
    assert details["for_good"]
    assert not site.ledger.machines()


def test_an_order_that_was_never_sent_is_not_sent_to_a_zone_that_the_plan_no_longer_names(site: Site):
    site.batch_arrives("one", 1)
    site.keeper.step(site.now)  # writes the row and hands the order over, which is never sent
    [before] = site.ledger.machines()
    site.plan = plan(zones=[zone for zone in ZONES if zone != before.zone])
    site.start_keeper()
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 600), site.said
    first, second = site.ledger.machines()
    assert (first.name, first.end) == (before.name, MachineEnd.SURPLUS)
    assert second.zone != first.zone
    assert set(site.cloud.orders) == {second.name}


def test_an_order_that_may_have_arrived_with_another_plan_leaves_no_machine_behind(site: Site):
    site.batch_arrives("one", 1)
    site.keeper.step(site.now)
    [before] = site.ledger.machines()
    site.threads.do_all()  # it arrives, and the keeper dies before it hears of it
    site.start_keeper()
    spec = replace(site.keeper.market.spec, machine_type="g2-standard-8")
    site.keeper.market = replace(site.keeper.market, spec=spec)
    assert site.pass_until(lambda: not site.ledger.batches(open_only=True), 600), site.said
    assert site.pass_until(lambda: not site.instances(), 300), site.said
    assert site.cloud.orders[before.name] == 1


def test_the_money_of_a_day_is_spent_on_work_and_on_little_more(ledger: Ledger):
    budget = 0.10  # a third of an hour of one machine
    site = Site(ledger, plan(budget_per_day=budget))
    site.batch_arrives("long", 500)
    site.pass_until(lambda: False, HOUR, step=10)
    machines = ledger.machines()
    total = spent([as_rented(machine) for machine in machines], BEGIN, site.now)
    assert 0.9 * budget < total < 1.1 * budget
    assert {machine.end for machine in machines} == {MachineEnd.BUDGET}
    worked = {attempt.machine for attempt in ledger.attempts(ledger.batch("long").id) if attempt.images_done}
    assert worked == {machine.name for machine in machines}, "none was rented only to boot"
    assert "budget_per_day" in ledger.life(site.life.id).details["waits"]


def test_two_controllers_in_one_project_leave_each_others_machines_alone(ledger: Ledger, tmp_path: Path):
    site = Site(ledger, plan(machines=1))
    serving(site, 1)
    site.pass_time(60)  # names of machines begin with the minute of their life
    other_ledger = Ledger(f"sqlite:///{tmp_path}/other.db")
    other_ledger.migrate()
    other = Site(other_ledger, plan(machines=1), site.world)
    other.keeper.market = replace(other.keeper.market, pool="another")
    other.batch_arrives("short", 1)
    for _ in range(100):
        site.pass_time(2)
        other.pass_time(2)
    assert [m.end for m in other_ledger.machines()] == [MachineEnd.IDLE]
    assert ends(site) == [None]
    assert not [said for said in (*site.said, *other.said) if "no row knows" in said]
    other.keeper.clear_cloud()
    other_ledger.close()
    site.pass_time(10)
    assert ends(site) == [None]
