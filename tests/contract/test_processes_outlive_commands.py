"""Processes of a stack are started once, found again, never mistaken for others, and ended with all they started."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.processes import MARK, Processes, marked
from tests.waiting import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT = [sys.executable, "-c", f"import subprocess, time; subprocess.Popen({SLEEP!r}); time.sleep(600)"]
STUBBORN = [
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]  # fmt: skip


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path / "run", tmp_path / "logs", mark=str(tmp_path))
    yield found
    found.sweep()
    assert marked(str(tmp_path)) == []


def _again(processes: Processes) -> Processes:
    """As another command sees them."""
    return Processes(processes.folder, processes.logs, processes.mark)


def test_starting_twice_starts_once(processes: Processes):
    first = processes.start("server", SLEEP, {}, {"port": "4200"})
    second = _again(processes).start("server", SLEEP, {})
    assert second.pid == first.pid
    assert second.details == {"port": "4200"}
    assert marked(processes.mark) == [first.pid]


def test_many_commands_that_start_it_at_the_same_moment_start_it_once(processes: Processes):
    """As two `spotlift up` in two terminals do; each is held at a gate until all are ready."""
    code = (
        "import sys; from pathlib import Path; from infra.processes import Processes; "
        f"found = Processes(Path({str(processes.folder)!r}), Path({str(processes.logs)!r}), {processes.mark!r}); "
        f"print('ready', flush=True); sys.stdin.readline(); print(found.start('server', {SLEEP!r}, {{}}).pid)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert [starter.stdout.readline() for starter in starters if starter.stdout] == ["ready\n"] * 6
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("\n")
        starter.stdin.flush()
    pids = {int(starter.communicate(timeout=60)[0]) for starter in starters}
    assert marked(processes.mark) == sorted(pids)
    assert len(pids) == 1


def test_what_died_is_started_again(processes: Processes):
    first = processes.start("server", SLEEP, {})
    psutil.Process(first.pid).kill()
    eventually("it is dead", lambda: processes.find("server") is None)
    assert processes.start("server", SLEEP, {}).pid != first.pid


def test_another_process_that_got_the_same_pid_is_not_taken_for_it(processes: Processes):
    processes.start("server", SLEEP, {})
    record = processes.folder / "server.json"
    stranger = {**json.loads(record.read_text()), "pid": os.getpid()}
    processes.stop(["server"])
    record.write_text(json.dumps(stranger))
    assert processes.find("server") is None
    processes.stop(["server"])  # and this test lives on


def test_an_illegible_record_counts_as_no_process(processes: Processes):
    processes.folder.mkdir(parents=True)
    (processes.folder / "server.json").write_text('{"name": "server", "pi')
    assert processes.find("server") is None
    assert processes.start("server", SLEEP, {}).alive()


def test_stopping_ends_what_it_started_too_and_may_be_repeated(processes: Processes):
    processes.start("parent", PARENT, {})
    eventually("it has a child", lambda: len(marked(processes.mark)) == 2)
    for _ in range(2):
        processes.stop(["parent"])
        assert marked(processes.mark) == []
        assert processes.all() == []


def test_who_does_not_listen_is_ended_all_the_same(processes: Processes):
    processes.start("stubborn", STUBBORN, {})
    eventually("it ignores signals", lambda: "ready" in processes.tail("stubborn"))
    processes.stop(["stubborn"], gently=0.2)
    assert marked(processes.mark) == []


def test_a_process_without_a_record_is_found_by_its_mark(processes: Processes):
    lost = processes.start("lost", PARENT, {})
    eventually("it has a child", lambda: len(marked(processes.mark)) == 2)
    (processes.folder / "lost.json").unlink()
    assert lost.pid in processes.sweep()
    assert marked(processes.mark) == []


def test_sweeping_spares_one_family_and_other_stacks(processes: Processes, tmp_path: Path):
    spared = processes.start("spared", PARENT, {})
    eventually("it has a child", lambda: len(marked(processes.mark)) == 2)
    other = Processes(tmp_path / "other", tmp_path / "other", mark=f"{tmp_path}-other")
    neighbour = other.start("neighbour", SLEEP, {})
    processes.start("superfluous", SLEEP, {})
    processes.sweep(spare=[spared.pid])
    assert len(marked(processes.mark)) == 2
    assert neighbour.alive()
    other.sweep()


def test_a_process_gets_its_environment_and_the_mark_and_nothing_else(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SECRET", "s")
    started = processes.start("server", SLEEP, {"GIVEN": "yes"})
    environment = eventually("it has begun", psutil.Process(started.pid).environ)
    assert environment["GIVEN"] == "yes"
    assert environment[MARK] == processes.mark
    assert "SECRET" not in environment


def test_the_end_of_a_log_is_kept_for_messages(processes: Processes):
    processes.start("talker", [sys.executable, "-c", "print('one\\ntwo\\nthree')"], {})
    eventually("it has ended", lambda: processes.find("talker") is None)
    assert processes.tail("talker", lines=2) == "two\nthree"
    assert processes.tail("nobody") == ""
