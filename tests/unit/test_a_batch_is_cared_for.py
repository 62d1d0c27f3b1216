"""The policy that keeps batches going when their runs die."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from flows.care import PENDING_DEADLINE, RESTART_PAUSE, Care, Patient, RunState, care_for
from infra.states import OPEN_BATCHES, BatchState

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RUNNING = Patient(
    state=BatchState.RUNNING,
    has_run=True,
    run=RunState.RUNNING,
    run_since=NOW,
    lease_until=NOW + SECOND,
    lease_is_its_own=True,
    restarts=0,
)


def test_a_new_batch_gets_its_first_run():
    new = replace(RUNNING, state=BatchState.ARRIVED, has_run=False, run=RunState.NONE, lease_until=None)
    assert care_for(new, 5, NOW) is Care.START


def test_a_batch_whose_run_shows_signs_of_life_is_left_alone():
    assert care_for(RUNNING, 5, NOW) is Care.NOTHING


def test_a_batch_in_the_queue_waits_for_the_pool_as_long_as_it_takes():
    queued = replace(RUNNING, run=RunState.QUEUED, lease_until=None, run_since=NOW - timedelta(days=1))
    assert care_for(queued, 5, NOW) is Care.NOTHING


def test_a_batch_does_not_wait_for_ever_for_a_pool_that_does_not_open():
    deadline = timedelta(minutes=10)
    queued = replace(RUNNING, run=RunState.QUEUED, lease_until=None, run_since=NOW - deadline, pool_is_open=False)
    assert care_for(queued, 5, NOW, deadline) is Care.NOTHING
    assert care_for(queued, 5, NOW + SECOND, deadline) is Care.NO_POOL
    assert care_for(replace(queued, pool_is_open=True), 5, NOW + SECOND, deadline) is Care.NOTHING


def test_a_crash_that_the_server_knows_of_is_mended_at_once():
    crashed = replace(RUNNING, run=RunState.ENDED, lease_until=None)
    assert care_for(crashed, 5, NOW) is Care.RESTART


def test_a_crash_that_the_server_knows_of_need_not_wait_for_the_lease():
    crashed = replace(RUNNING, run=RunState.ENDED)
    assert care_for(crashed, 5, NOW) is Care.RESTART


def test_a_run_that_found_another_one_at_work_is_not_replaced_while_that_one_lives():
    superfluous = replace(RUNNING, run=RunState.ENDED, lease_is_its_own=False)
    assert care_for(superfluous, 5, NOW) is Care.NOTHING
    assert care_for(replace(superfluous, lease_until=NOW - SECOND), 5, NOW) is Care.RESTART


def test_the_lease_that_a_dead_run_left_does_not_speak_against_the_next_one():
    following = replace(RUNNING, run=RunState.PENDING, lease_until=NOW - SECOND, lease_is_its_own=False)
    assert care_for(following, 5, NOW) is Care.NOTHING
    assert care_for(replace(following, run_since=NOW - PENDING_DEADLINE), 5, NOW) is Care.RESTART


def test_a_crash_that_nobody_reported_is_mended_when_the_lease_runs_out():
    silent = replace(RUNNING, lease_until=NOW - SECOND)
    assert care_for(silent, 5, NOW) is Care.RESTART


def test_a_run_that_was_taken_but_never_began_is_replaced():
    stuck = replace(RUNNING, run=RunState.PENDING, lease_until=None, run_since=NOW - PENDING_DEADLINE)
    assert care_for(stuck, 5, NOW) is Care.RESTART
    assert care_for(replace(stuck, run_since=NOW), 5, NOW) is Care.NOTHING


def test_a_batch_that_kills_every_run_is_given_up():
    hopeless = replace(RUNNING, run=RunState.ENDED, lease_until=None, restarts=5)
    assert care_for(hopeless, 5, NOW) is Care.GIVE_UP


def test_deaths_in_a_row_are_mended_more_and_more_slowly():
    died = replace(RUNNING, run=RunState.ENDED, lease_until=None, run_since=NOW)
    assert care_for(died, 5, NOW) is Care.RESTART
    again = replace(died, restarts=2)
    assert care_for(again, 5, NOW + 2 * RESTART_PAUSE - SECOND) is Care.NOTHING
    assert care_for(again, 5, NOW + 2 * RESTART_PAUSE) is Care.RESTART


def test_cancelling_the_run_in_the_ui_cancels_the_batch():
    cancelled = replace(RUNNING, run=RunState.CANCELLED, lease_until=None)
    assert care_for(cancelled, 5, NOW) is Care.CANCEL


def test_a_cancelled_batch_that_nobody_works_on_any_more_ends():
    asked = replace(RUNNING, state=BatchState.CANCELLING, run=RunState.ENDED, lease_until=None)
    assert care_for(asked, 5, NOW) is Care.CANCEL


@pytest.mark.parametrize("state", sorted(OPEN_BATCHES))
@pytest.mark.parametrize("run", list(RunState))
def test_no_open_batch_is_left_alone_for_ever(state: BatchState, run: RunState):
    """With its lease run out long ago, only a place in the queue of an open pool is a reason to do nothing."""
    long_ago = NOW - timedelta(hours=1)
    for lease, has_run, own in product((None, long_ago), (True, False), (True, False)):
        patient = Patient(state, has_run, run, long_ago, lease, lease_is_its_own=own, restarts=0)
        idle = care_for(patient, 5, NOW) is Care.NOTHING
        assert not idle or (run is RunState.QUEUED and has_run)
        closed = replace(patient, pool_is_open=False)
        assert care_for(closed, 5, NOW, timedelta(minutes=10)) is not Care.NOTHING
