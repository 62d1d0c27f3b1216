"""What died comes up again where those that live on ask for it, whatever the settings say by then."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.processes import Processes
from infra.settings import Settings
from infra.stack import CONTROL_WORKER, EMULATOR, endpoint, stack_processes, start_emulator
from tests.waiting import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = stack_processes(Settings(state=tmp_path))
    yield found
    found.stop([CONTROL_WORKER, EMULATOR])
    assert found.sweep() == []


def two_ports() -> tuple[int, int]:
    with ExitStack() as probes:
        ports = []
        for _ in range(2):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
    return ports[0], ports[1]


def kill_emulator(processes: Processes) -> None:
    emulator = processes.find(EMULATOR)
    assert emulator is not None
    os.kill(emulator.pid, signal.SIGKILL)
    eventually("it is dead", lambda: processes.find(EMULATOR) is None)


def test_an_emulator_comes_up_again_where_the_keeper_asks_it(tmp_path: Path, processes: Processes):
    first, second = two_ports()
    before, after = (Settings(state=tmp_path, emulator_port=port) for port in (first, second))
    processes.start(CONTROL_WORKER, SLEEP, os.environ)
    start_emulator(before)
    kill_emulator(processes)
    start_emulator(after)
    assert endpoint(after) == f"http://127.0.0.1:{first}"


def test_where_nobody_else_lives_the_settings_count(tmp_path: Path, processes: Processes):
    first, second = two_ports()
    start_emulator(Settings(state=tmp_path, emulator_port=first))
    kill_emulator(processes)
    after = Settings(state=tmp_path, emulator_port=second)
    start_emulator(after)
    assert endpoint(after) == f"http://127.0.0.1:{second}"
