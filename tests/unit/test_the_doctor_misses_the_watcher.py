"""The doctor says why nobody watches the inbox, by the watcher's latest run."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed, Failed

from flows.cli.watched import unwatched
from infra.stack import Address

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
AT = Address("127.0.0.1", 4200)


def a_run(state: State) -> FlowRun:
    state.timestamp = NOON
    return FlowRun(flow_id=uuid4(), state=state)


@pytest.mark.parametrize(
    ("state", "told"),
    [(Failed(message="the disk is full"), "ended as FAILED: the disk is full"), (Crashed(), "ended as CRASHED.")],
)
def test_a_run_that_ended_is_quoted_with_its_page(state: State, told: str):
    run = a_run(state)
    finding = unwatched(run, AT, NOON)
    assert finding.verdict == "wrong"
    assert "nobody watches the inbox" in finding.message
    assert told in finding.message
    assert f"http://127.0.0.1:4200/runs/flow-run/{run.id}" in finding.message


@pytest.mark.parametrize("state", [StateType.PENDING, StateType.RUNNING])
def test_a_run_that_has_just_begun_gets_a_minute(state: StateType):
    run = a_run(State(type=state))
    assert unwatched(run, AT, NOON + timedelta(seconds=50)).verdict == "note"
    late = unwatched(run, AT, NOON + timedelta(seconds=70))
    assert late.verdict == "wrong"
    assert f"is {state.value}, but gives no sign of life" in late.message


def test_a_watcher_that_was_never_started_is_started_by_up():
    finding = unwatched(None, AT, NOON)
    assert finding.verdict == "wrong"
    assert "`spotlift up`" in finding.message
