"""The processes of one emulated machine, found and ended whatever they did to get away.

Each machine is a session of its own, and all its processes carry a mark in their environment. A process that made
itself a new session is found by the mark, one that dropped its environment by the session.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "SPOTLIFT_INSTANCE"
"""The folder of the machine that a process belongs to."""
_ROUNDS: Final = 20


@dataclass(frozen=True)
class Family:
    """Who leads it, and the mark that all of it carries."""

    leader: int
    created: float
    mark: str

    @classmethod
    def of(cls, leader: int, mark: str) -> "Family":
        return cls(leader, psutil.Process(leader).create_time(), mark)

    def signal(self, number: int) -> None:
        """To the process group of its leader."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader, number)

    def leader_lives(self) -> bool:
        """Cheap to ask, if the leader is a child of this process for whose end nobody has waited."""
        return os.waitid(os.P_PID, self.leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def members(self) -> list[psutil.Process]:
        """All that live. A leader's number is not given to others while its session has members."""
        stranger = _created(self.leader)
        session = self.leader if stranger is None or abs(stranger - self.created) < 1 else None
        return _living(lambda mark: mark == self.mark, session)

    def end(self) -> None:
        """Kill all of it, and what it begins meanwhile."""
        for _ in range(_ROUNDS):
            members = self.members()
            if not members:
                return
            _kill(members)

    def write(self, record: Path) -> None:
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(record)


def end_those_left(records: Path, marks: str) -> int:
    """End what an emulator that died left: those on record, and all with a mark that begins so. How many there were."""
    count = 0
    for record in records.glob("*.json"):
        with suppress(ValueError, TypeError):
            family = Family(**json.loads(record.read_text()))
            count += len(family.members())
            family.end()
        record.unlink()
    for _ in range(_ROUNDS):
        members = _living(lambda mark: mark.startswith(marks), None)
        if not members:
            break
        count += len(members)
        _kill(members)
    return count


def _kill(members: list[psutil.Process]) -> None:
    """Returns when they are dead; that whose children they were has noticed is not needed."""
    for process in members:
        with suppress(psutil.Error):
            process.kill()
    for process in members:
        with suppress(psutil.Error):
            _await_end(process)


def _await_end(process: psutil.Process) -> None:
    for _ in range(400):
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return
        time.sleep(0.005)


def _living(wanted: Callable[[str], bool], session: int | None) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            ours = session is not None and os.getsid(process.pid) == session
            if (ours or wanted(process.environ().get(MARK, ""))) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _created(pid: int) -> float | None:
    with suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return None
