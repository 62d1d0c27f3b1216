"""The policy of the pool: how many machines, where, and which go back. Tables of facts and decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.pool.policy import MISSED_FOR, Decision, Held, Limits, Return, Stage, Work, decide, wanted
from infra.pool.zones import Past, Zone
from infra.states import MachineEnd

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=300)
ZONES = (Zone("us-a1-a", 0.30), Zone("us-a1-b", 0.30), Zone("us-b1-a", 0.33))
LIMITS = Limits(maximum=4, idle_window=WINDOW, boot_deadline=timedelta(seconds=200), boot_seconds=75)
NOTHING = Work(seconds=0, chunks=0, unread=0)
MUCH = Work(seconds=100_000, chunks=100, unread=0)
LITTLE = Work(seconds=10, chunks=4, unread=0)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def held(name: str, stage: Stage = Stage.SERVING, idle: float | None = None, asked: float = 60, **more: object) -> Held:
    since = None if idle is None else ago(idle)
    return Held(name, str(more.pop("zone", "us-a1-a")), stage, ago(asked), price=0.30, since=since, **more)  # type: ignore[arg-type]


def dry(zone: str, seconds_ago: float, **more: object) -> Past:
    return Past(
        zone,
        ago(seconds_ago + 5),
        ended_at=ago(seconds_ago),
        end=MachineEnd.STOCKOUT,
        reason="No stock.",
        **more,  # type: ignore[arg-type]
    )


def choose(work: Work, *machines: Held, history: tuple[Past, ...] = (), spent: float = 0, **limits: object) -> Decision:
    return decide(work, machines, ZONES, history, replace(LIMITS, **limits), spent, NOON)  # type: ignore[arg-type]


def tried(*history: Past) -> set[str]:
    """The zones in which many machines would be rented."""
    return set(choose(MUCH, history=history, maximum=12).rent)


def returned(decision: Decision) -> dict[str, MachineEnd]:
    return {back.name: back.end for back in decision.give_back}


# How many


@pytest.mark.parametrize(
    ("work", "machines"),
    [
        (NOTHING, 0),
        (Work(seconds=0, chunks=0, unread=1), 1),  # it has just arrived: begin to boot while it is read
        (LITTLE, 1),
        (Work(seconds=225, chunks=50, unread=0), 1),  # three boots' worth of work
        (Work(seconds=226, chunks=50, unread=0), 2),
        (MUCH, 4),  # and never more than the maximum
        (Work(seconds=100_000, chunks=3, unread=0), 3),  # a machine without a chunk is of no use
        (Work(seconds=100_000, chunks=3, unread=1), 4),  # unless nobody knows yet how many there will be
    ],
)
def test_machines_follow_from_the_seconds_of_work_that_wait(work: Work, machines: int):
    assert wanted(work, LIMITS) == machines


def test_a_machine_with_several_gpus_does_the_work_of_several():
    assert wanted(Work(seconds=900, chunks=50, unread=0), LIMITS) == 4
    assert wanted(Work(seconds=900, chunks=50, unread=0), replace(LIMITS, gpus=4)) == 1
    assert wanted(Work(seconds=100_000, chunks=5, unread=0), replace(LIMITS, gpus=4)) == 2


def test_some_machines_may_be_wanted_at_once():
    assert wanted(LITTLE, replace(LIMITS, least=3)) == 3
    assert wanted(NOTHING, replace(LIMITS, least=3)) == 0


def test_a_machine_that_is_asked_for_counts_so_we_do_not_ask_twice():
    first = choose(MUCH)
    assert len(first.rent) == 4
    assert choose(MUCH, *(held(f"m{n}", Stage.COMING) for n in range(4))) == Decision()


def test_a_machine_on_its_way_out_is_replaced_but_never_beyond_the_maximum():
    serving = [held(f"m{n}") for n in range(3)]
    leaving = held("m3", Stage.LEAVING)
    assert choose(MUCH, *serving, leaving).rent == ()
    assert len(choose(MUCH, *serving, leaving, maximum=5).rent) == 1


def test_the_same_facts_give_the_same_decision():
    facts = [held("m1", idle=400), held("m2", Stage.COMING, asked=500)]
    assert choose(MUCH, *facts) == choose(MUCH, *facts)


# Where


def test_machines_are_spread_over_zones_the_cheap_ones_first():
    assert choose(MUCH).rent == ("us-a1-a", "us-a1-b", "us-b1-a", "us-a1-a")
    assert choose(MUCH, held("m1", zone="us-a1-a"), maximum=2).rent == ("us-a1-b",)


def test_a_dry_zone_is_left_alone_for_a_while_and_longer_each_time():
    assert "us-a1-a" not in tried(dry("us-a1-a", 29))
    assert "us-a1-a" in tried(dry("us-a1-a", 31))
    assert "us-a1-a" not in tried(dry("us-a1-a", 90), dry("us-a1-a", 59))
    assert "us-a1-a" in tried(dry("us-a1-a", 90), dry("us-a1-a", 61))


def test_a_machine_that_came_up_ends_the_row_of_stockouts():
    came = Past("us-a1-a", ago(80), started_at=ago(60))
    rows = dry("us-a1-a", 300), dry("us-a1-a", 90), dry("us-a1-a", 31)
    assert "us-a1-a" not in tried(*rows)
    assert "us-a1-a" in tried(*rows, came)


def test_a_zone_that_the_cloud_names_is_tried_although_it_was_dry():
    told = dry("us-a1-b", 3, available=("us-a1-a",))
    assert "us-a1-a" in tried(dry("us-a1-a", 20), told)
    assert "us-a1-a" not in tried(told, dry("us-a1-a", 2))


def test_where_machines_were_taken_back_lately_others_are_preferred_and_that_fades():
    def taken(minutes: float) -> Past:
        began = NOON - timedelta(minutes=minutes + 20)
        return Past("us-a1-a", began, began, began, NOON - timedelta(minutes=minutes), MachineEnd.PREEMPTED)

    assert choose(LITTLE, history=(taken(1),)).rent == ("us-a1-b",)
    dear = (Zone("us-a1-a", 0.30), Zone("us-a1-b", 0.45))
    for minutes, zone in ((1, "us-a1-b"), (120, "us-a1-a")):
        assert decide(LITTLE, (), dear, (taken(minutes),), LIMITS, 0, NOON).rent == (zone,)


def test_when_every_zone_is_dry_nothing_is_rented_and_the_user_is_told():
    decision = choose(MUCH, history=tuple(dry(zone.name, 1) for zone in ZONES))
    assert decision.rent == ()
    assert "us-a1-a, us-a1-b, us-b1-a" in decision.waits
    assert "The last answer: No stock." in decision.waits
    assert not decision.for_good


def test_a_full_region_is_left_alone_until_a_machine_of_ours_leaves_it():
    full = Past("us-a1-a", ago(9), ended_at=ago(5), end=MachineEnd.QUOTA, reason="Quota.")
    assert set(choose(MUCH, history=(full,)).rent) == {"us-b1-a"}
    left = Past("us-a1-b", ago(900), ago(890), ago(800), ago(2), MachineEnd.IDLE)
    assert "us-a1-a" in choose(MUCH, history=(full, left)).rent


def test_a_quota_of_all_regions_stops_the_renting_everywhere():
    full = Past(
        "us-a1-a", ago(9), ended_at=ago(5), end=MachineEnd.QUOTA, reason="GPUS_ALL_REGIONS is 1.", everywhere=True
    )
    assert choose(MUCH, held("m1"), history=(full,)) == Decision(waits="GPUS_ALL_REGIONS is 1.")


def test_a_refusal_is_for_good_until_somebody_acts_but_not_while_machines_serve():
    no = Past("us-a1-a", ago(9), ended_at=ago(5), end=MachineEnd.REFUSED, reason="No permission to create instances.")
    assert choose(MUCH, history=(no,)) == Decision(waits=no.reason, for_good=True)
    assert choose(MUCH, held("m1"), history=(no,)) == Decision(waits=no.reason)
    assert choose(MUCH, history=(replace(no, ended_at=ago(60)),)).rent  # somebody may have mended it


def test_what_went_wrong_before_somebody_asked_again_is_forgiven():
    no = Past("us-a1-a", ago(9), ended_at=ago(5), end=MachineEnd.REFUSED, reason="No permission.")
    assert choose(replace(MUCH, asked_at=ago(10)), history=(no,)).for_good
    assert choose(replace(MUCH, asked_at=ago(4)), history=(no,)).rent


def test_machines_that_never_boot_cost_money_so_only_a_retry_forgives_them():
    failures = tuple(
        Past("us-a1-a", ago(s + 90), ago(s + 80), None, ago(s), MachineEnd.BOOT_FAILED, "Driver?")
        for s in (49, 39, 19, 9, 5)
    )
    assert choose(replace(LITTLE, asked_at=ago(1)), history=failures).for_good
    assert choose(replace(LITTLE, asked_at=ago(1), retried_at=ago(1)), history=failures).rent


def test_machines_that_never_boot_are_not_rented_one_after_the_other_for_ever():
    def failed(seconds: float) -> Past:
        return Past(
            "us-a1-a", ago(seconds + 90), ago(seconds + 80), None, ago(seconds), MachineEnd.BOOT_FAILED, "Driver?"
        )

    second = choose(LITTLE, history=(failed(9), failed(5)))
    assert second.rent
    assert second.waits == "2 machines in a row never checked in. Driver? Another one is tried."
    third = choose(LITTLE, history=(failed(19), failed(9), failed(5)))
    assert (third.rent, third.for_good) == ((), False)
    assert "3 machines in a row never checked in. Driver?" in third.waits
    overdue = choose(LITTLE, held("m3", Stage.COMING, asked=201), history=(failed(19), failed(9)))
    assert overdue.rent == (), "the third that fails at this very moment counts"
    assert "3 machines in a row never checked in. It did not check in within 200 s." in overdue.waits
    fifth = choose(LITTLE, history=tuple(failed(seconds) for seconds in (49, 39, 19, 9, 5)))
    assert (fifth.rent, fifth.for_good) == ((), True)
    worked = Past("us-a1-b", ago(400), ago(380), ago(4), None, None)
    assert choose(LITTLE, history=(failed(19), failed(9), failed(5), worked)).rent


def test_whoever_waits_while_another_machine_boots_is_told_why_the_last_one_did_not():
    failed = Past("us-a1-a", ago(300), ago(290), None, ago(30), MachineEnd.BOOT_FAILED, "No driver.")
    told = "The last machine did not come up. No driver. Another one is tried."
    assert choose(LITTLE, held("m2", Stage.COMING), history=(failed,)) == Decision(waits=told)
    assert choose(NOTHING, held("m2", Stage.COMING), history=(failed,)).waits == ""
    assert choose(LITTLE, held("m2"), history=(failed,)).waits == "", "one serves: nobody waits for a boot"
    assert choose(replace(LITTLE, retried_at=ago(1)), held("m2", Stage.COMING), history=(failed,)).waits == ""


def test_a_stream_of_batches_does_not_pay_for_machines_that_never_boot_again_and_again():
    def rented(failures: int, minutes: float) -> bool:
        when = [minutes * 60 + 700 * n for n in reversed(range(failures))]
        history = [
            Past("us-a1-a", ago(s + 600), ago(s + 590), None, ago(s), MachineEnd.BOOT_FAILED, "No driver.")
            for s in when
        ]
        return bool(choose(replace(LITTLE, asked_at=ago(1)), history=tuple(history)).rent)

    assert [rented(5, minutes) for minutes in (1.9, 2.1)] == [False, True]
    assert [rented(9, minutes) for minutes in (31, 33)] == [False, True]  # stockouts would be over after ten minutes
    assert [rented(20, minutes) for minutes in (359, 361)] == [False, True]


# Money


def test_the_budget_of_an_hour_bounds_the_number_of_machines():
    decision = choose(MUCH, budget_per_hour=0.95)
    assert len(decision.rent) == 3
    assert "raise budget_per_hour" in decision.waits
    assert choose(MUCH, held("m1"), held("m2", Stage.LEAVING), budget_per_hour=0.85).rent == ()


def test_when_the_money_of_the_day_is_spent_everything_goes_back():
    decision = choose(MUCH, held("m1"), held("m2", Stage.COMING), held("m3", Stage.LEAVING), spent=5, budget_per_day=5)
    assert returned(decision) == {"m1": MachineEnd.BUDGET, "m2": MachineEnd.BUDGET}
    assert decision.rent == ()
    assert "the budget of $5.00 within 24 hours is spent" in decision.waits


def test_the_last_dollars_of_the_day_do_not_buy_boots():
    # Booting and being of use takes 4 × 75 s: 2.5 cents a machine.
    assert len(choose(MUCH, spent=4.89, budget_per_day=5).rent) == 4
    decision = choose(MUCH, held("m1"), spent=4.93, budget_per_day=5)
    assert len(decision.rent) == 1
    assert "the budget of $5.00 within 24 hours is nearly spent, and $0.0775 more are needed" in decision.waits
    assert "raise budget_per_day" in decision.waits


def test_small_sums_are_not_rounded_to_nothing():
    assert "the budget of $0.0010" in choose(MUCH, spent=0.002, budget_per_day=0.001).waits


def test_a_smaller_plan_gives_back_what_is_of_least_use_first():
    machines = [
        held("old", asked=900), held("young", asked=100), held("idle", idle=5, asked=800),
        held("boots", Stage.COMING, asked=20),
    ]  # fmt: skip
    surplus = MachineEnd.SURPLUS
    assert choose(MUCH, *machines).give_back == ()
    assert returned(choose(MUCH, *machines, maximum=3)) == {"idle": surplus}
    assert returned(choose(MUCH, *machines, maximum=2)) == {"idle": surplus, "boots": surplus}
    assert returned(choose(MUCH, *machines, budget_per_hour=0.3)) == dict.fromkeys(("idle", "boots", "young"), surplus)
    assert "$1.20 an hour" in choose(MUCH, *machines, budget_per_hour=1).give_back[0].reason


def test_a_smaller_plan_leaves_the_last_machine_to_the_work_that_waits():
    assert choose(LITTLE, held("m1"), budget_per_hour=0.1) == Decision()
    assert returned(choose(LITTLE, held("m1"), held("m2", asked=10), budget_per_hour=0.1)) == {"m2": MachineEnd.SURPLUS}
    assert returned(choose(NOTHING, held("m1", idle=1), budget_per_hour=0.1)) == {"m1": MachineEnd.SURPLUS}


def test_with_a_budget_nothing_is_rented_at_an_unknown_price():
    decision = decide(MUCH, (), (Zone("us-a1-a"),), (), replace(LIMITS, budget_per_hour=9), 0, NOON)
    assert (decision.rent, decision.for_good) == ((), True)
    assert "add it to the price file" in decision.waits
    assert decide(MUCH, (), (Zone("us-a1-a"),), (), LIMITS, 0, NOON).rent


# Back


def test_a_machine_that_was_idle_for_the_whole_window_goes_back():
    assert returned(choose(NOTHING, held("m1", idle=299), held("m2", idle=300))) == {"m2": MachineEnd.IDLE}


def test_the_last_machine_of_a_pool_with_waiting_work_never_is_idle():
    one_chunk = Work(seconds=10, chunks=1, unread=0)
    assert choose(one_chunk, held("m1", idle=999)).give_back == ()
    assert returned(choose(one_chunk, held("m1", idle=999), held("m2", idle=998))) == {"m1": MachineEnd.IDLE}


def test_while_a_machine_has_nothing_to_do_no_other_one_is_rented_for_the_work_that_waits():
    long_ago = replace(MUCH, asked_at=ago(900))
    assert choose(long_ago, held("m1", idle=19)).rent
    assert choose(long_ago, held("m1", idle=20)) == Decision()
    assert choose(replace(MUCH, asked_at=ago(19)), held("m1", idle=400)).rent, "nobody had the time to hand it out"
    assert choose(long_ago, held("m1", idle=4), idle_window=timedelta(seconds=7)) == Decision()
    assert choose(long_ago, held("m1", idle=400), held("m2")).rent, "an idle machine that goes back is no sign"


def test_a_machine_that_does_not_check_in_before_its_boot_deadline_goes_back_and_another_one_comes():
    decision = choose(LITTLE, held("m1", Stage.COMING, asked=201))
    assert returned(decision) == {"m1": MachineEnd.BOOT_FAILED}
    assert len(decision.rent) == 1
    assert choose(LITTLE, held("m1", Stage.COMING, asked=200)) == Decision()


def test_a_machine_that_was_refused_does_not_wait_for_its_deadline():
    decision = choose(LITTLE, held("m1", Stage.COMING, asked=1, refused="Its distributed is 1, ours 2."))
    assert decision.give_back == (Return("m1", MachineEnd.BOOT_FAILED, "Its distributed is 1, ours 2."),)


def test_a_machine_that_left_the_scheduler_is_replaced_at_once_and_goes_back_after_a_while():
    gone = MISSED_FOR.total_seconds()
    assert len(choose(LITTLE, held("m1", Stage.MISSED, idle=1)).rent) == 1
    assert returned(choose(LITTLE, held("m1", Stage.MISSED, idle=gone - 1))) == {}
    assert returned(choose(LITTLE, held("m1", Stage.MISSED, idle=gone))) == {"m1": MachineEnd.HUNG}
