"""A machine is killed in the middle of a batch: nobody has to do anything, and nothing is lost."""

import os
import signal
from pathlib import Path

import pytest

from infra.records.tables import Machine
from infra.states import AttemptEnd, BatchState, MachineEnd
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow
PICTURES = 36


def test_its_images_go_to_another_machine_and_the_results_are_the_same(stack: Stack, tmp_path: Path):
    pictures = album(tmp_path / "pictures", PICTURES)
    undisturbed = stack.submit(pictures, "undisturbed")
    assert stack.ended(undisturbed).state is BatchState.DONE

    disturbed = stack.submit(pictures, "disturbed")
    stack.eventually("three images are done", lambda: stack.done(disturbed) >= 3)
    victim = _machine_at_work(stack)
    os.kill(victim.pid or 0, signal.SIGKILL)
    assert stack.done(disturbed) < PICTURES, "the machine was killed too late for this test to mean anything"

    row = stack.ended(disturbed)
    assert row.state is BatchState.DONE
    assert len(stack.results(disturbed)) == PICTURES
    assert stack.results(disturbed) == stack.results(undisturbed)

    # The chunk in its hands, and perhaps one that waited at its door.
    lost = [attempt for attempt in stack.ledger.attempts(row.id) if attempt.end is AttemptEnd.MACHINE_LOST]
    assert {attempt.machine for attempt in lost} == {victim.name}
    assert len(lost) <= 2
    [run] = stack.ended_runs(disturbed)
    tried_again = [task for task in stack.task_runs(run) if task.run_count > 1]
    assert len(tried_again) == len(lost)
    assert {task.state_name for task in tried_again} == {"Completed"}


def test_another_machine_takes_its_place(stack: Stack):
    machines = stack.ledger.machines()
    [lost] = [machine for machine in machines if machine.end is MachineEnd.LOST]
    assert len([machine for machine in machines if machine.life_id == lost.life_id]) == 3


def _machine_at_work(stack: Stack) -> Machine:
    machines = stack.ledger.machines(open_only=True)
    return next(machine for machine in machines if machine.checked_in_at is not None)
