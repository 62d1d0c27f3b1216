"""What the cloud's listing means for the rows of the ledger. Only the listing may say that a machine is gone."""

from datetime import UTC, datetime, timedelta

import pytest

from infra.machines.errors import QuotaReached, Refused, Stockout, Temporary, Where
from infra.machines.spec import Departure, Instance, Listing, Outcome
from infra.pool.reconcile import IN_DOUBT_FOR, ORDER_DEADLINE, Move, Question, departed, move, question, unknown
from infra.records.tables import Machine
from infra.states import MachineEnd, MachineState

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EMPTY = Listing({})
RUNNING_ON = Outcome(done=False)
CREATED = Outcome(done=True)


def row(state: MachineState, *, ordered: bool = True, started: bool | None = None, **more: object) -> Machine:
    runs = state in (MachineState.RUNNING, MachineState.STOPPING) if started is None else started
    fields = {"requested_at": NOON, "end": None, "checked_in_at": None, "details": {}, "reason": "", **more}
    return Machine(
        id=1, life_id=1, name="m1", zone="us-a1-a", machine_type="g2-standard-4", spot=True, state=state,
        operation="op-1" if ordered else None, started_at=NOON if runs else None, **fields,
    )  # fmt: skip


def listed(status: str) -> Listing:
    return Listing({"m1": Instance("m1", "us-a1-a", status, {}, "2026-11-20T12:00:00Z")})


def moved(
    machine: Machine,
    listing: Listing,
    outcome: Outcome | None = None,
    departure: Departure | None = None,
    after: timedelta = timedelta(0),
) -> Move | None:
    return move(machine, listing, outcome, departure, NOON + after)


@pytest.mark.parametrize(
    ("state", "status", "to"),
    [
        (MachineState.REQUESTED, "PROVISIONING", MachineState.PROVISIONING),
        (MachineState.REQUESTED, "RUNNING", MachineState.RUNNING),
        (MachineState.PROVISIONING, "STAGING", MachineState.STAGING),
        (MachineState.STAGING, "STAGING", None),
        (MachineState.RUNNING, "STAGING", None),  # a listing may be older than what we know
        (MachineState.STOPPING, "RUNNING", None),  # told to go; the listing has not heard
        (MachineState.STOPPING, "TERMINATED", None),  # it is still listed: it is deleted, not forgotten
    ],
)
def test_a_row_follows_the_listing_forward_only(state: MachineState, status: str, to: MachineState | None):
    found = moved(row(state), listed(status))
    assert (found.to if found else None) is to


@pytest.mark.parametrize("status", ["STOPPING", "TERMINATED", "SUSPENDED"])
def test_a_machine_on_its_way_out_is_told_with_the_reason_once_it_is_known(status: str):
    machine = row(MachineState.RUNNING)
    assert question(machine, listed(status)) is Question.DEPARTURE
    assert moved(machine, listed(status)) is None
    found = moved(machine, listed(status), departure=Departure.PREEMPTED)
    assert found is not None
    assert (found.to, found.end) == (MachineState.STOPPING, MachineEnd.PREEMPTED)


@pytest.mark.parametrize(
    ("departure", "end"),
    [
        (Departure.PREEMPTED, MachineEnd.PREEMPTED),
        (Departure.STOPPED_ITSELF, MachineEnd.STOPPED_ITSELF),
        (Departure.TIME_LIMIT, MachineEnd.MAX_RUN_DURATION),
        (Departure.DELETED, MachineEnd.LOST),
        (Departure.UNKNOWN, MachineEnd.LOST),
    ],
)
def test_a_machine_that_vanished_ends_with_the_reason_that_the_cloud_gives(departure: Departure, end: MachineEnd):
    machine = row(MachineState.RUNNING)
    assert question(machine, EMPTY) is Question.DEPARTURE
    found = moved(machine, EMPTY, departure=departure)
    assert found is not None
    assert (found.to, found.end) == (MachineState.TERMINATED, end)
    assert ("the cloud does not say why" in found.reason) is (departure is Departure.UNKNOWN)


def test_nobody_is_gone_before_somebody_says_why():
    assert moved(row(MachineState.RUNNING), EMPTY) is None


@pytest.mark.parametrize("state", [s for s in MachineState if s is not MachineState.TERMINATED])
def test_a_zone_that_does_not_answer_says_nothing(state: MachineState):
    silent = Listing({}, frozenset({"us-a1-a"}))
    machine = row(state, started=state is MachineState.RUNNING)
    assert question(machine, silent) is None
    assert moved(machine, silent, CREATED, Departure.PREEMPTED, timedelta(days=1)) is None


def test_an_order_that_was_never_answered_is_repeated_and_given_up_after_its_deadline():
    machine = row(MachineState.REQUESTED, ordered=False)
    assert question(machine, EMPTY) is None
    assert moved(machine, EMPTY, after=ORDER_DEADLINE - timedelta(seconds=1)) is None
    found = moved(machine, EMPTY, after=ORDER_DEADLINE)
    assert found is not None
    assert (found.to, found.end) == (MachineState.TERMINATED, MachineEnd.NEVER_CREATED)


@pytest.mark.parametrize("state", [MachineState.REQUESTED, MachineState.PROVISIONING, MachineState.STAGING])
@pytest.mark.parametrize(
    ("error", "end", "details"),
    [
        (Stockout("None left.", ("us-b1-a",)), MachineEnd.STOCKOUT, {"available": ["us-b1-a"]}),
        (QuotaReached("Full.", "GPUS_ALL_REGIONS", Where.EVERYWHERE), MachineEnd.QUOTA, {"everywhere": True}),
        (QuotaReached("Full.", "NVIDIA_L4_GPUS", Where.REGION), MachineEnd.QUOTA, {"everywhere": False}),
        (Refused("No such image."), MachineEnd.REFUSED, {}),
        (Refused("No such type there.", Where.ZONE), MachineEnd.NEVER_CREATED, {}),
        (Temporary("Internal error."), MachineEnd.NEVER_CREATED, {}),
    ],
)
def test_an_operation_that_failed_ends_the_row_with_its_own_reason(
    state: MachineState, error: Exception, end: MachineEnd, details: dict[str, object]
):
    machine = row(state)
    assert question(machine, EMPTY) is Question.OUTCOME
    found = moved(machine, EMPTY, Outcome(done=True, error=error))  # type: ignore[arg-type]
    assert found == Move(machine, MachineState.TERMINATED, end, str(error), details)


def test_a_machine_that_was_created_after_the_listing_was_made_is_not_taken_for_gone():
    machine = row(MachineState.REQUESTED)
    assert moved(machine, EMPTY, RUNNING_ON) is None
    found = moved(machine, EMPTY, CREATED)
    assert found is not None
    assert found.to is MachineState.PROVISIONING
    gone = moved(row(MachineState.PROVISIONING), EMPTY, CREATED, Departure.PREEMPTED)
    assert gone is not None
    assert (gone.to, gone.end) == (MachineState.TERMINATED, MachineEnd.PREEMPTED)


def test_a_machine_that_was_given_back_before_the_cloud_answered_is_not_forgotten_while_it_may_still_come():
    unanswered = row(MachineState.STOPPING, ordered=False, started=False, end=MachineEnd.POOL_CLOSED)
    assert moved(unanswered, EMPTY, after=IN_DOUBT_FOR - timedelta(seconds=1)) is None
    assert moved(unanswered, EMPTY, after=IN_DOUBT_FOR) is not None
    being_made = row(MachineState.STOPPING, started=False, end=MachineEnd.POOL_CLOSED)
    assert moved(being_made, EMPTY, RUNNING_ON, after=timedelta(days=1)) is None
    found = moved(being_made, EMPTY, CREATED)
    assert found is not None
    assert (found.to, found.end) == (MachineState.TERMINATED, MachineEnd.POOL_CLOSED)


def test_machines_that_no_row_knows_are_found():
    assert [i.name for i in unknown(listed("RUNNING"), {"m2"})] == ["m1"]
    assert unknown(listed("RUNNING"), {"m1"}) == []


def test_the_scheduler_is_told_of_machines_that_the_cloud_has_taken_off():
    machine = row(MachineState.RUNNING)
    assert departed(["m1"], [machine], listed("RUNNING")) == []
    assert departed(["m1"], [machine], EMPTY) == ["m1"]
    assert departed(["m1"], [machine], listed("TERMINATED")) == ["m1"]
    assert departed(["m1"], [machine], Listing({}, frozenset({"us-a1-a"}))) == []
    assert departed(["a-stranger"], [machine], EMPTY) == []
