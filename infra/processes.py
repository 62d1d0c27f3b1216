"""Long-lived processes of one local stack, found again by whoever comes next.

Each is started in a session of its own, writes to a log, and leaves a record (pid and start time, so that a
recycled pid is never mistaken for it). Starting is therefore safely repeatable: what lives is kept. Every process
and all its descendants also carry the stack's mark in their environment, so that `sweep` finds even those whose
record was lost when their parent was killed between starting them and writing it.
"""

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARK = "SPOTLIFT_STACK"
GENTLY = 10.0
"""Seconds between asking a process to end (SIGTERM) and ending it (SIGKILL)."""


class ProcessDied(Exception):
    """A process ended that should have lived; the message quotes the end of its log."""


@dataclass(frozen=True)
class Process:
    """A process that was started, alive or not."""

    name: str
    pid: int
    created: float
    log: str
    details: Mapping[str, str]

    def alive(self) -> bool:
        try:
            found = psutil.Process(self.pid)
            same = abs(float(found.create_time()) - self.created) < 1
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Processes:
    """The processes whose records lie in one folder. `mark` names the stack that they belong to."""

    def __init__(self, folder: Path, logs: Path, mark: str) -> None:
        self.folder = folder
        self.logs = logs
        self.mark = mark

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        details: Mapping[str, str] | None = None,
    ) -> Process:
        """The living process of that name, started if there is none. Many may ask at once; one process comes of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone(name):
            return self.find(name) or self._begin(name, command, environment, dict(details or {}))

    def _begin(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], details: Mapping[str, str]
    ) -> Process:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("ab") as output:
            started = subprocess.Popen(
                list(command),
                env={**environment, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(name, started.pid, psutil.Process(started.pid).create_time(), str(log), details)
        record = self.folder / f"{name}.json"
        draft = record.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(asdict(process)))
        draft.replace(record)
        return process

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Nobody else looks for and starts a process of that name meanwhile. The lock dies with its holder."""
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, name: str) -> Process | None:
        """The process of that name, if it lives."""
        known = self._record(self.folder / f"{name}.json")
        return known if known is not None and known.alive() else None

    def all(self) -> list[Process]:
        """Every process that has a record, alive or not, by name."""
        records = (self._record(path) for path in sorted(self.folder.glob("*.json")))
        return [record for record in records if record is not None]

    def stop(self, names: Iterable[str], gently: float = GENTLY) -> None:
        """End these with all their descendants, together; returns when none lives. Repeatable."""
        records = [self._record(self.folder / f"{name}.json") for name in names]
        end([p.pid for p in records if p is not None and p.alive()], gently)
        for record in records:
            if record is not None:
                (self.folder / f"{record.name}.json").unlink(missing_ok=True)

    def sweep(self, spare: Iterable[int] = ()) -> list[int]:
        """End whatever still carries the mark, except this process, its ancestors and the families of `spare`."""
        keep = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        for pid in spare:
            with suppress(psutil.NoSuchProcess):
                keep |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
        found = [pid for pid in marked(self.mark) if pid not in keep]
        end(found, GENTLY)
        return found

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a process's log."""
        log = self.logs / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

    @staticmethod
    def _record(path: Path) -> Process | None:
        try:
            return Process(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # never written, removed meanwhile, or of another version: as good as unknown


def marked(mark: str) -> list[int]:
    """Pids of the processes that carry the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def end(pids: Sequence[int], gently: float) -> None:
    """End these processes with all their descendants: SIGTERM, patience in seconds, SIGKILL.

    They are asked first, because they may want to end their children in order; then the children that are left.
    """
    until = time.monotonic() + gently
    family: dict[int, psutil.Process] = {}
    for pid in pids:
        with suppress(psutil.Error):
            root = psutil.Process(pid)
            for process in [root, *root.children(recursive=True)]:
                family[process.pid] = process
    roots = [family[pid] for pid in pids if pid in family]
    for asked in (roots, [process for process in family.values() if process not in roots]):
        for process in asked:
            with suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(asked, timeout=max(0.0, until - time.monotonic()))
    _, alive = psutil.wait_procs(list(family.values()), timeout=0)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
