"""The cloud takes a machine back in the middle of a batch, with notice or without: nobody has to do anything."""

from pathlib import Path

import pytest

from infra.records.tables import Attempt, Machine
from infra.states import AttemptEnd, BatchState, EventKind, MachineEnd
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 160


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return album(tmp_path_factory.mktemp("pictures"), PICTURES, 240, 160)  # chunks longer than what is in hand


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, pictures: Path) -> dict[str, bytes]:
    """What the batch becomes when nothing happens."""
    batch = stack.submit(pictures, "undisturbed")
    assert stack.ended(batch).state is BatchState.DONE
    return stack.results(batch)


def test_with_notice_no_image_is_done_twice(stack: Stack, pictures: Path, undisturbed: dict[str, bytes]):
    batch = stack.submit(pictures, "noticed")
    victim = stack.machine_at_work(batch, images=1)  # four more are in hand, and will be finished
    stack.emulator.preempt(victim, notice=30)
    assert stack.done(batch) < PICTURES, "the machine was taken away too late for this test to mean anything"

    assert stack.ended(batch).state is BatchState.DONE
    assert stack.results(batch) == undisturbed
    lost = _lost(stack, batch)
    assert {(attempt.machine, attempt.end) for attempt in lost} == {(victim, AttemptEnd.PREEMPTED)}
    assert _images_in_hand(stack, batch) == []
    _shows_as_a_retry(stack, batch, victim, lost)
    _is_told_as_preempted(stack, victim)


def test_without_notice_only_the_image_in_hand_is_done_again(
    stack: Stack, pictures: Path, undisturbed: dict[str, bytes]
):
    batch = stack.submit(pictures, "unnoticed")
    victim = stack.machine_at_work(batch, images=3)
    stack.emulator.preempt(victim, notice=None)
    assert stack.done(batch) < PICTURES, "the machine was taken away too late for this test to mean anything"

    assert stack.ended(batch).state is BatchState.DONE
    assert stack.results(batch) == undisturbed
    lost = _lost(stack, batch)
    assert {attempt.machine for attempt in lost} == {victim}
    assert len(_images_in_hand(stack, batch)) <= 1
    _shows_as_a_retry(stack, batch, victim, lost)
    machine = _is_told_as_preempted(stack, victim)
    stack.eventually("the attempt learns of the cause", lambda: _lost(stack, batch)[0].end is AttemptEnd.PREEMPTED)
    others = [m for m in stack.ledger.machines(machine.life_id) if m.requested_at > machine.requested_at]
    assert others, "nobody took its place"


def test_all_machines_at_once_are_replaced_and_the_batch_goes_on(
    stack: Stack, pictures: Path, undisturbed: dict[str, bytes]
):
    batch = stack.submit(pictures, "all-at-once")
    stack.machine_at_work(batch, images=3)
    victims = {m.name for m in stack.ledger.machines(open_only=True)}
    stack.emulator.preempt_all(notice=None)
    assert stack.done(batch) < PICTURES

    assert stack.ended(batch).state is BatchState.DONE
    assert stack.results(batch) == undisturbed
    assert victims <= {m.name for m in stack.ledger.machines() if m.end is MachineEnd.PREEMPTED}
    assert stack.restarts(stack.ledger.batch(batch)) == 0


def _lost(stack: Stack, batch: str) -> list[Attempt]:
    return [a for a in stack.ledger.attempts(stack.ledger.batch(batch).id) if a.end is not AttemptEnd.FINISHED]


def _images_in_hand(stack: Stack, batch: str) -> list[int]:
    """Images that a machine had begun and not finished when it went away."""
    diary = stack.ledger.events(batch_id=stack.ledger.batch(batch).id, most=100_000)
    ended = [event.details for event in diary if event.kind is EventKind.ATTEMPT_ENDED]
    return [details["in_hand"] for details in ended if details.get("in_hand") is not None]


def _shows_as_a_retry(stack: Stack, batch: str, victim: str, lost: list[Attempt]) -> None:
    """In the runs view: the task ran again, and the state before says why, with the machine's name."""
    [run] = stack.ended_runs(batch)
    again = [task for task in stack.task_runs(run) if task.run_count > 1]
    assert len(again) == len({attempt.chunk_id for attempt in lost})
    assert {task.state_name for task in again} == {"Completed"}
    reasons = " ".join(stack.reasons(task) for task in again)
    assert victim in reasons


def _is_told_as_preempted(stack: Stack, victim: str) -> Machine:
    stack.eventually("its row ends", lambda: stack.ledger.machine(victim).ended_at is not None)
    machine = stack.ledger.machine(victim)
    assert machine.end is MachineEnd.PREEMPTED
    return machine
