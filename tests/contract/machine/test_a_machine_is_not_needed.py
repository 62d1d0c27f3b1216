"""A machine that has nothing to do, or nobody to do it for, ends by itself: nobody pays for nothing."""

import signal

import pytest

from infra.pool import dispatch
from tests.contract.machine import work
from tests.contract.machine.life import Life
from tests.waiting import eventually

pytestmark = pytest.mark.slow


def test_a_machine_without_work_ends(new_life: Life):
    new_life.start_scheduler()
    new_life.start_registrar()
    new_life.boot(new_life.cloud("idle", idle_limit="4"))
    client = new_life.client()
    assert client.submit(work.name, 5, pure=False).result(timeout=30) == "idle"  # longer than it may have none
    assert new_life.exit_code("idle") == 0
    assert "no work for 4 s" in new_life.log("idle")


def test_a_machine_without_a_scheduler_ends(new_life: Life):
    new_life.start_scheduler()
    new_life.start_registrar()
    new_life.boot(new_life.cloud("lonely", idle_limit="5"))
    client = new_life.client()
    eventually("it joins", lambda: dispatch.machines_of(client) == {"lonely"})
    new_life.kill("scheduler", signal.SIGKILL)
    assert new_life.exit_code("lonely") == 4
    assert "has lost the scheduler" in new_life.log("lonely")


def test_a_machine_that_the_scheduler_lets_go_ends(new_life: Life):
    new_life.start_scheduler()
    new_life.start_registrar()
    new_life.boot(new_life.cloud("retired"))
    client = new_life.client()
    eventually("it joins", lambda: dispatch.machines_of(client) == {"retired"})
    dispatch.send_away(client, "retired")
    assert new_life.exit_code("retired") == 0


def test_a_machine_that_nobody_rented_ends(new_life: Life):
    cloud = new_life.cloud("stranger")
    cloud.attributes.clear()
    new_life.boot(cloud)
    assert new_life.exit_code("stranger") == 6
    assert "spotlift-scheduler" in new_life.log("stranger")
