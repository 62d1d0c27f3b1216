"""The emulator as a process: how it takes its machines along, and what it finds of a life that ended badly."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.contract.emulator.renter import Renter
from tests.contract.emulator.test_a_machine_runs import boot, processes
from tests.emulated import Emulator, emulator, start
from tests.waiting import eventually

SCRIPT = "setsid sleep 60 & echo up; trap '' TERM; sleep 61"


def with_a_machine(folder: Path) -> Emulator:
    running = start(folder)
    renter = Renter(running.url)
    boot(renter, "vm-1", SCRIPT)
    renter.close()
    eventually("it runs", lambda: len(processes(folder / "instances")) >= 3, 10)
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_emulator_that_is_told_to_end_takes_its_machines_along(tmp_path: Path, number: int):
    running = with_a_machine(tmp_path / "emulator")
    running.process.send_signal(number)
    assert running.process.wait(20) == 0
    assert processes(tmp_path) == []


def test_an_emulator_that_was_killed_ends_its_machines_when_it_is_back(tmp_path: Path):
    running = with_a_machine(tmp_path / "emulator")
    running.process.kill()
    running.process.wait()
    left = processes(tmp_path / "emulator" / "instances")
    assert len(left) >= 3
    with emulator(tmp_path / "emulator") as again:
        assert not [it for it in left if it.is_running() and it.status() != psutil.STATUS_ZOMBIE]
        assert again.remote.machines() == []
        assert "ended 3 processes" in again.log()


def test_two_emulators_do_not_share_a_folder(tmp_path: Path):
    with emulator(tmp_path / "emulator"):
        second = subprocess.run(
            [sys.executable, "-m", "infra.emulator", "--port", "0", "--state", str(tmp_path / "emulator")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert second.returncode == 2
    assert "another emulator uses the folder" in second.stderr
