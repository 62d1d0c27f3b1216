"""A machine that is preempted finishes the image in hand; everything else goes on elsewhere at once."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from distributed import Client

from infra.pool import dispatch
from tests.contract.machine import work
from tests.contract.machine.cloud import Cloud
from tests.contract.machine.life import Life, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Where images are begun and ended."""
    return tmp_path


def test_the_image_in_hand_is_finished_and_the_rest_handed_back(
    life: Life, client: Client, vm: Callable[..., Cloud], desk: Path
):
    cloud = vm("preempted")
    chunk = client.submit(work.images, (str(desk), (1, 2, 3)), pure=False, retries=0)
    eventually("image 1 is in hand", (desk / "begun-1").exists)
    cloud.preempt()
    eventually("it is told", lambda: "preempted was told to go" in life.log("preempted"))
    (desk / "end-1").touch()
    ended = eventually("image 1 ends", (desk / "ended-1").exists) and time.monotonic()
    assert chunk.result(timeout=20) == ([1], [2, 3])
    assert time.monotonic() - ended < 0.5  # about 0.03 s when nothing else runs
    assert not (desk / "begun-2").exists()
    chunk.release()
    assert life.exit_code("preempted") == 0


def test_what_was_queued_behind_the_image_in_hand_goes_to_another_machine_at_once(
    life: Life, client: Client, vm: Callable[..., Cloud], desk: Path
):
    cloud = vm("leaving")
    chunk = client.submit(work.images, (str(desk), (1, 2)), pure=False, retries=0)
    queued = [client.submit(work.name, 0, pure=False, retries=0) for _ in range(3)]
    eventually("image 1 is in hand", (desk / "begun-1").exists)
    vm("staying")
    assert [future.status for future in queued] == ["pending"] * 3
    cloud.preempt()
    eventually("it is told", lambda: "leaving was told to go" in life.log("leaving"))
    told = time.monotonic()
    names = [future.result(timeout=20) for future in queued]  # raises KilledWorker if it counts as a death
    assert names == ["staying"] * 3
    assert time.monotonic() - told < 1
    (desk / "end-1").touch()
    assert chunk.result(timeout=20) == ([1], [2])
    chunk.release()
    assert life.exit_code("leaving") == 0


def test_what_is_queued_waits_for_the_next_machine_when_there_is_no_other(
    life: Life, client: Client, vm: Callable[..., Cloud], desk: Path
):
    vm("last")
    chunk = client.submit(work.images, (str(desk), (1,)), pure=False, retries=0)
    queued = client.submit(work.name, 0, pure=False, retries=0)
    eventually("image 1 is in hand", (desk / "begun-1").exists)
    life.kill("last", signal.SIGTERM)
    eventually("it is told", lambda: "last was told to go" in life.log("last"))
    (desk / "end-1").touch()
    assert chunk.result(timeout=20) == ([1], [])
    chunk.release()
    assert life.exit_code("last") == 0
    assert queued.status == "pending"
    vm("next")
    assert queued.result(timeout=20) == "next"


def test_work_that_keeps_coming_goes_elsewhere_and_none_of_it_is_lost(
    life: Life, client: Client, vm: Callable[..., Cloud]
):
    vm("flooded")
    vm("spare")
    futures = []
    for number in range(150):
        futures.append(client.submit(work.name, 0.01, pure=False, retries=0))
        if number == 50:
            life.kill("flooded", signal.SIGTERM)
        time.sleep(0.005)
    done = client.gather(futures)
    for future in futures:
        future.release()
    assert set(done) == {"flooded", "spare"}
    assert done[-1] == "spare"
    assert life.exit_code("flooded") == 0


def test_a_machine_that_is_told_while_it_boots_ends_at_once(new_life: Life):
    new_life.registrar = f"https://127.0.0.1:{free_port()}"
    new_life.scheduler = f"tls://127.0.0.1:{free_port()}"
    cloud = new_life.cloud("unborn")
    new_life.boot(cloud)
    eventually("it asks in vain", lambda: "no certificate yet" in new_life.log("unborn"))
    cloud.preempt()
    assert new_life.exit_code("unborn", within=10) == 0


def test_members_go_when_nobody_watches_over_them(client: Client, vm: Callable[..., Cloud]):
    vm("orphan")
    members = [process for process in psutil.process_iter() if _is_member(process, "orphan")]
    (supervisor,) = {process.ppid() for process in members}
    os.kill(supervisor, signal.SIGKILL)
    eventually("they go", lambda: not any(process.is_running() for process in members), within=10)
    assert "orphan" not in dispatch.machines_of(client)


def _is_member(process: psutil.Process, name: str) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return "workers.machine.member" in command and name in command
