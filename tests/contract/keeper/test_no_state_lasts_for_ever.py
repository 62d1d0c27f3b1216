"""For every state that is not final somebody moves it on, within a time. Each is proved against the worst case.

`infra.states.WAYS_OUT` says who and when; `PROOFS` has one proof per state, so that a new state needs both.
"""

import itertools
from collections.abc import Callable
from datetime import timedelta

import pytest

from flows.care import PENDING_DEADLINE, Care, Patient, RunState, care_for
from infra.emulator.world import Times, World
from infra.machines.errors import Unclear
from infra.pool.keeper import ASK_AGAIN
from infra.pool.policy import MISSED_FOR
from infra.pool.reconcile import ORDER_DEADLINE
from infra.records import Ledger
from infra.records.tables import Batch, Machine
from infra.states import (
    MOVES,
    OPEN_CHUNKS,
    WAYS_OUT,
    AttemptEnd,
    AttemptState,
    BatchEnd,
    BatchState,
    ChunkState,
    ImageState,
    LifeEnd,
    LifeState,
    MachineEnd,
    MachineState,
    State,
)
from tests.contract.keeper.simulated import BEGIN, JOINS_AFTER, Site, plan

NEVER = 1e9
"""Seconds; longer than any test lasts."""
BOOT = 120.0
LOOKS = 10.0
"""Seconds that a keeper may need to notice a thing."""
ENDLESS = frozenset({BatchState.DONE, BatchState.DONE_WITH_REJECTS, BatchState.FAILED, BatchState.CANCELLED})
ENDLESS_IMAGES = frozenset({ImageState.DONE, ImageState.REJECTED, ImageState.CANCELLED})
"""Final, although a person may begin another round."""


def site_with(ledger: Ledger, **times: float) -> Site:
    """A pool with one batch of one chunk, in a cloud that takes such times."""
    usual = {"provisioning": 2.0, "staging": 2.0, "boot": 0.0, "stopping": 2.0, "grace": 2.0, "notice": 30.0}
    site = Site(ledger, plan(machines=1, boot_deadline=BOOT), World(Times(**{**usual, **times})))
    site.batch_arrives("one", 1)
    return site


def machine_in(site: Site, state: MachineState) -> Machine:
    """The first machine, once it is in that state."""

    def there() -> bool:
        machines = site.ledger.machines()
        return bool(machines) and machines[0].state is state

    assert site.pass_until(there, 600, step=1), site.said
    return site.ledger.machines()[0]


def leaves(site: Site, machine: Machine, state: MachineState, within: float) -> Machine:
    assert site.pass_until(lambda: site.ledger.machine(machine.name).state is not state, within, step=1), site.said
    return site.ledger.machine(machine.name)


def ends(site: Site, machine: Machine, within: float) -> MachineEnd | None:
    assert site.pass_until(lambda: site.ledger.machine(machine.name).ended_at is not None, within, step=1), site.said
    return site.ledger.machine(machine.name).end


# Machines


def an_order_without_an_answer_is_given_up(ledger: Ledger) -> None:
    site = site_with(ledger)

    def lost(*_: object) -> None:
        raise Unclear("The answer was lost, and so was the request.")

    site.cloud.rent = lost  # type: ignore[assignment, method-assign]
    machine = machine_in(site, MachineState.REQUESTED)
    leaves(site, machine, MachineState.REQUESTED, max(BOOT, ORDER_DEADLINE.total_seconds()) + LOOKS)
    assert ends(site, machine, ORDER_DEADLINE.total_seconds()) is not None


def a_machine_that_is_never_provisioned_goes_back(ledger: Ledger) -> None:
    site = site_with(ledger, provisioning=NEVER)
    machine = machine_in(site, MachineState.PROVISIONING)
    leaves(site, machine, MachineState.PROVISIONING, BOOT + LOOKS)
    assert ends(site, machine, 60) is MachineEnd.BOOT_FAILED


def a_machine_that_stays_in_staging_goes_back(ledger: Ledger) -> None:
    site = site_with(ledger, staging=NEVER)
    machine = machine_in(site, MachineState.STAGING)
    leaves(site, machine, MachineState.STAGING, BOOT + LOOKS)
    assert ends(site, machine, 60) is MachineEnd.BOOT_FAILED


def a_machine_that_runs_and_serves_nobody_goes_back(ledger: Ledger) -> None:
    site = site_with(ledger)
    site.world.order({"fault": "no_boot", "times": 1}, site.world.now)
    never_boots = machine_in(site, MachineState.RUNNING)
    leaves(site, never_boots, MachineState.RUNNING, BOOT + LOOKS)
    assert ends(site, never_boots, 60) is MachineEnd.BOOT_FAILED
    # The next one works, then has nothing to do.
    assert site.pass_until(lambda: len(site.ledger.machines()) == 2, 300)
    idle = site.ledger.machines()[1]
    assert ends(site, idle, 600) is MachineEnd.IDLE
    # And one that leaves the scheduler while the cloud says that it runs.
    site.batch_arrives("two", 1)
    assert site.pass_until(lambda: len(site.ledger.machines(open_only=True)) == 1, 300)
    hung = site.ledger.machines(open_only=True)[0]
    assert site.pass_until(lambda: site.ledger.machine(hung.name).checked_in_at is not None, JOINS_AFTER + 60, step=1)
    site.hands.expected.discard(hung.name)
    assert ends(site, hung, MISSED_FOR.total_seconds() + 60) is MachineEnd.HUNG


def a_machine_that_cannot_be_deleted_is_deleted_again_and_again(ledger: Ledger) -> None:
    site = site_with(ledger)
    site.world.order({"fault": "delete_fails", "how": "operation", "seconds": 900}, site.world.now)
    machine_in(site, MachineState.RUNNING)
    machine = machine_in(site, MachineState.STOPPING)  # idle
    site.pass_until(lambda: False, 700, step=5)
    assert site.ledger.machine(machine.name).state is MachineState.STOPPING  # only the listing may say that it is gone
    assert ends(site, machine, 900 - 700 + 3 * ASK_AGAIN.total_seconds()) is MachineEnd.IDLE


# Lives


def an_opening_life_is_adopted_or_closed(ledger: Ledger) -> None:
    """`test_a_scheduler_that_never_listens_ends_the_life` has the deadline itself; here the successor closes it."""
    life = ledger.open_life(BEGIN)
    assert life is not None
    ledger.close_life(life.id, LifeEnd.REPLACED, BEGIN)
    assert ledger.life_is_closed(life.id, BEGIN).state is LifeState.CLOSED


def an_open_life_has_no_machine_left_when_there_is_no_work(ledger: Ledger) -> None:
    """The keeper then closes it: `test_idle_machines_go_back` tells that whole story."""
    site = site_with(ledger)
    assert site.pass_until(lambda: ledger.machines() and not ledger.machines(open_only=True), 900)


def a_closing_life_is_closed_by_whoever_comes_next(ledger: Ledger) -> None:
    site = site_with(ledger)
    machine_in(site, MachineState.RUNNING)
    site.world.order({"fault": "delete_fails", "how": "http", "seconds": 400}, site.world.now)
    ledger.close_life(site.life.id, LifeEnd.ASKED, site.now)
    site.pass_until(lambda: False, 300)
    assert ledger.machines(open_only=True)
    site.start_keeper()
    assert site.pass_until(lambda: site.keeper.close_step(site.now), 200)
    assert ledger.life_is_closed(site.life.id, site.now).state is LifeState.CLOSED


# Batches and what belongs to them


def no_open_batch_is_left_alone(ledger: Ledger) -> None:  # noqa: ARG001 - pure
    """Whatever the server says of its run, once its lease is over something happens, or its run has a deadline."""
    deadline, now = timedelta(minutes=10), BEGIN + timedelta(hours=1)
    for state, run in itertools.product(BatchState, RunState):
        if state in ENDLESS:
            continue
        for pool_is_open, own in itertools.product((True, False), (True, False)):
            patient = Patient(state, run is not RunState.NONE, run, BEGIN, BEGIN, own, 0, pool_is_open)
            care = care_for(patient, 5, now, deadline)
            # In the queue of an open pool it begins within seconds: its run has capacity_deadline then.
            assert care is not Care.NOTHING or (run is RunState.QUEUED and pool_is_open)
    assert timedelta(minutes=2) > PENDING_DEADLINE


def what_belongs_to_a_batch_ends_with_it(ledger: Ledger) -> None:
    for number, end in enumerate(("fail", "cancel")):
        batch, attempt = _running(ledger, f"batch-{number}")
        if end == "fail":
            ledger.fail(batch.id, BatchEnd.NO_CAPACITY, "No machine.", BEGIN)
        else:
            ledger.ask_cancel(batch.id, BEGIN)
            ledger.cancelled(batch.id, BEGIN)
        assert not [c for c in ledger.chunks(batch.id) if c.state in OPEN_CHUNKS]
        assert next(a for a in ledger.attempts(batch.id) if a.id == attempt).state is AttemptState.ENDED


def an_attempt_is_superseded_by_the_next_run(ledger: Ledger) -> None:
    batch, attempt = _running(ledger, "restarted")
    [chunk] = ledger.chunks(batch.id)
    ledger.open_attempt(chunk.id, BEGIN)
    assert next(a for a in ledger.attempts(batch.id) if a.id == attempt).end is AttemptEnd.SUPERSEDED


def _running(ledger: Ledger, name: str) -> tuple[Batch, int]:
    site = ledger.current_life() or ledger.open_life(BEGIN)
    assert site is not None
    Site.batch_arrives(_Books(ledger), name, 1)  # type: ignore[arg-type]
    batch = ledger.batch(name)
    [chunk] = ledger.chunks(batch.id)
    return batch, ledger.open_attempt(chunk.id, BEGIN).id


class _Books:
    """As much of a site as a batch needs to arrive."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.now = ledger, BEGIN


PROOFS: list[tuple[State, Callable[[Ledger], None]]] = [
    (BatchState.ARRIVED, no_open_batch_is_left_alone),
    (BatchState.REGISTERED, no_open_batch_is_left_alone),
    (BatchState.RUNNING, no_open_batch_is_left_alone),
    (BatchState.CANCELLING, no_open_batch_is_left_alone),
    (ImageState.WAITING, what_belongs_to_a_batch_ends_with_it),
    (ChunkState.WAITING, what_belongs_to_a_batch_ends_with_it),
    (ChunkState.RUNNING, what_belongs_to_a_batch_ends_with_it),
    (AttemptState.OPEN, an_attempt_is_superseded_by_the_next_run),
    (MachineState.REQUESTED, an_order_without_an_answer_is_given_up),
    (MachineState.PROVISIONING, a_machine_that_is_never_provisioned_goes_back),
    (MachineState.STAGING, a_machine_that_stays_in_staging_goes_back),
    (MachineState.RUNNING, a_machine_that_runs_and_serves_nobody_goes_back),
    (MachineState.STOPPING, a_machine_that_cannot_be_deleted_is_deleted_again_and_again),
    (LifeState.OPENING, an_opening_life_is_adopted_or_closed),
    (LifeState.OPEN, an_open_life_has_no_machine_left_when_there_is_no_work),
    (LifeState.CLOSING, a_closing_life_is_closed_by_whoever_comes_next),
]


Known = tuple[type[State], str]


def test_every_state_that_is_not_final_has_a_way_out_and_a_proof() -> None:
    final: set[Known] = {(kind, state) for kind in MOVES for state in kind if not MOVES[kind][state]}
    final |= {(BatchState, state) for state in ENDLESS} | {(ImageState, state) for state in ENDLESS_IMAGES}
    unfinished = {(kind, state) for kind in MOVES for state in kind} - final
    assert {(kind, state) for kind, ways in WAYS_OUT.items() for state in ways} == unfinished
    assert {(type(state), state) for state, _ in PROOFS} == unfinished
    assert len(PROOFS) == len(unfinished)


@pytest.mark.parametrize(
    ("state", "proof"), PROOFS, ids=lambda it: getattr(it, "__name__", "") or f"{type(it).__name__}.{it}"
)
def test_somebody_moves_it_on(state: State, proof: Callable[[Ledger], None], ledger: Ledger) -> None:
    assert WAYS_OUT[type(state)][state]
    proof(ledger)
