"""Somebody deletes a deployment in the UI: it is told in sentences, and `spotlift up` mends it."""

import pytest

from flows.runs import SPOT_POOL, WATCH_INBOX, Runs, ServerUnreachable
from tests.story.stack import Stack

pytestmark = pytest.mark.slow


def test_the_doctor_knows_that_the_inbox_is_watched(stack: Stack):
    def watched() -> bool:
        return "running, and the inbox is watched" in stack.spotlift("doctor", check=False).stdout

    stack.eventually("the inbox is watched", watched)


def test_a_deleted_deployment_is_missed_and_registered_again(stack: Stack):
    runs = Runs(f"http://127.0.0.1:{stack.port}/api")
    assert runs.missing() == []
    with stack.prefect() as client:
        client.delete_deployment(client.read_deployment_by_name(SPOT_POOL).id)
    try:
        assert runs.missing() == [SPOT_POOL]
        assert runs.living(SPOT_POOL) == []
        with pytest.raises(ServerUnreachable, match="`spotlift up` registers it again"):
            runs.start(SPOT_POOL)
        told = stack.spotlift("doctor", check=False)
        assert told.returncode == 1
        assert f"the server has lost {SPOT_POOL}: `spotlift up`" in told.stdout
    finally:
        stack.spotlift("up")
    assert runs.missing() == []


def test_the_latest_run_of_the_watcher_is_the_one_that_lives(stack: Stack):
    runs = Runs(f"http://127.0.0.1:{stack.port}/api")
    latest = runs.latest(WATCH_INBOX)
    assert latest is not None
    assert latest.id in {run.id for run in runs.living(WATCH_INBOX)}
