"""A local stack for tests, driven as a user drives it: by the `spotlift` command, in a temporary state folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, TaskRun

from infra.emulator.remote import Remote
from infra.pool.plan import PoolPlan
from infra.processes import marked
from infra.records import Ledger
from infra.records.tables import Batch
from infra.settings import Settings
from infra.states import OPEN_BATCHES, EventKind, ImageState, MachineState

SPOTLIFT = Path(sys.executable).with_name("spotlift")
PATIENCE = 120.0
"""Seconds after which a test gives up; generous, because other programs may share the cores."""


@dataclass
class Stack:
    """One stack below `root`; `settings` are handed to it as environment variables, without their prefix."""

    root: Path
    port: int
    emulator_port: int
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def inbox(self) -> Path:
        return self.state / "inbox"

    @property
    def outbox(self) -> Path:
        return self.state / "outbox"

    @property
    def ledger(self) -> Ledger:
        return Ledger(Settings(state=self.state).ledger_url)

    def environment(self) -> dict[str, str]:
        """What a user's shell has, without what this machine's owner may have set for another stack."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTLIFT_", "PREFECT_"))}
        given = {f"SPOTLIFT_{name.upper()}": str(value) for name, value in self.settings.items()}
        ports = {"SPOTLIFT_PORT": str(self.port), "SPOTLIFT_EMULATOR_PORT": str(self.emulator_port)}
        return {**own, **given, **ports, "SPOTLIFT_STATE": str(self.state)}

    def spotlift(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; with `check` it must succeed."""
        done = subprocess.run(
            [str(SPOTLIFT), *map(str, arguments)],
            env=self.environment(),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, f"spotlift {arguments} failed: {done.stdout}{done.stderr}"
        return done

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Begin a command and return at once."""
        return subprocess.Popen(
            [str(SPOTLIFT), *map(str, arguments)],
            env=self.environment(),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def submit(self, source: Path, name: str, *options: str) -> str:
        """Hand in a batch under exactly this name."""
        self.spotlift("submit", source, "--name", name, *options)
        return name

    def eventually(self, what: str, holds: Callable[[], Any], within: float = PATIENCE) -> Any:
        """Wait until something holds and return it; past the deadline fail with what the stack says."""
        until = time.monotonic() + within
        while not (found := holds()):
            assert time.monotonic() < until, f"not within {within:.0f} s: {what}\n{self.what_happened()}"
            time.sleep(0.1)
        return found

    def done(self, batch: str) -> int:
        """Images of the batch that are enhanced, by the ledger."""
        row = self.ledger.find_batch(batch)
        return self.ledger.progress(row.id).done if row else 0

    def ended(self, batch: str) -> Batch:
        """Wait until the batch has ended; its row."""

        def row() -> Batch | None:
            found = self.ledger.find_batch(batch)
            return found if found is not None and found.state not in OPEN_BATCHES else None

        found: Batch = self.eventually(f"{batch} ends", row)
        return found

    def results(self, batch: str) -> dict[str, bytes]:
        """Every published image of a batch by its relative name."""
        folder = self.outbox / batch
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix not in (".json", ".html")
        }

    @property
    def emulator(self) -> Remote:
        """The cloud of the stack, and the troubles that it can be put in."""
        return Remote(f"http://127.0.0.1:{self.emulator_port}")

    def zones(self) -> list[str]:
        """The zones in which the stack rents."""
        return PoolPlan.of(Settings(state=self.state)).zones

    def machine_at_work(self, batch: str, images: int) -> str:
        """The machine that finished an image last, once so many images of the batch are done."""
        self.eventually(f"{images} images are done", lambda: self.done(batch) >= images)

        def busy() -> str | None:
            done = self.ledger.images(self.ledger.batch(batch).id, ImageState.DONE)
            there = {m.name for m in self.ledger.machines(open_only=True) if m.state is MachineState.RUNNING}
            by = [i for i in done if i.machine in there and i.finished_at is not None]
            return max(by, key=lambda i: (i.finished_at, i.id)).machine if by else None

        found: str = self.eventually("a machine is at work", busy)
        return found

    def run_state(self, run_id: object) -> str | None:
        """The type of a flow run's state."""
        with self.prefect() as client:
            state = client.read_flow_run(UUID(str(run_id))).state
        return state.type.value if state else None

    def reasons(self, task: TaskRun) -> str:
        """What the states of a task run say, in the order in which it went through them."""
        with self.prefect() as client:
            answer = client.request("GET", "/task_run_states/", params={"task_run_id": str(task.id)})
        return " ".join(str(state.get("message")) for state in answer.json())

    @contextmanager
    def prefect(self) -> Iterator[SyncPrefectClient]:
        """A client of the stack's Prefect server."""
        with SyncPrefectClient(f"http://127.0.0.1:{self.port}/api") as client:
            yield client

    def runs(self, batch: str) -> list[FlowRun]:
        """The flow runs of a batch, oldest first."""
        with self.prefect() as client:
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"batch:{batch}"]))
            )
        return sorted(found, key=lambda run: run.created or run.expected_start_time)

    def ended_runs(self, batch: str) -> list[FlowRun]:
        """The flow runs of a batch, oldest first, once all of them have ended; the ledger knows a little earlier."""

        def ended() -> list[FlowRun]:
            found = self.runs(batch)
            return found if all(run.state is not None and run.state.is_final() for run in found) else []

        found: list[FlowRun] = self.eventually(f"the runs of {batch} end", ended)
        return found

    def restarts(self, batch: Batch) -> int:
        """How often a dead run of the batch was replaced, over its whole story."""
        diary = self.ledger.events(batch_id=batch.id, most=100_000)
        return sum(event.kind is EventKind.BATCH_RESTARTED for event in diary)

    def task_runs(self, run: FlowRun) -> list[TaskRun]:
        """The task runs of a flow run."""
        with self.prefect() as client:
            return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))

    def processes_with(self, word: str) -> list[str]:
        """The command lines of the stack's living processes in which a word occurs."""
        lines = []
        for pid in marked(str(self.state)):
            with suppress(psutil.Error):
                lines.append(" ".join(psutil.Process(pid).cmdline()))
        return [line for line in lines if word in line]

    def processes_of(self, run_id: object) -> list[psutil.Process]:
        """The living processes in which a flow run happens."""
        found = []
        for pid in marked(str(self.state)):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.environ().get("PREFECT__FLOW_RUN_ID") == str(run_id):
                    found.append(process)
        return found

    def kill_run(self, run_id: object) -> None:
        """`kill -9` the process of a flow run: its leader only, as an out-of-memory killer would."""
        found = {process.pid: process for process in self.processes_of(run_id)}
        leaders = [process for process in found.values() if process.ppid() not in found]
        assert leaders, f"run {run_id} has no process\n{self.what_happened()}"
        for process in leaders:
            os.kill(process.pid, signal.SIGKILL)

    def what_happened(self) -> str:
        """Diary and the ends of all logs, for the message of a test that fails."""
        parts = [f"{event.at:%H:%M:%S} {event.message}" for event in self.ledger.events(most=100_000)[-40:]]
        for log in sorted((self.state / "logs").rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            parts += [f"--- {log.name}", *lines]
        return "\n".join(parts)


@contextmanager
def running_stack(root: Path, **settings: object) -> Iterator[Stack]:
    """A stack that is up; at the end it is taken down, and nothing of it may be left."""
    stack = Stack(root, free_port(), free_port(), settings)
    try:
        stack.spotlift("up")
        yield stack
    finally:
        stack.spotlift("down")
        left = stack.processes_with("")
        assert not left, f"processes that survived `spotlift down`: {left}"
    open_lives = stack.ledger.lives(open_only=True)
    assert not open_lives, f"lives that nobody closed: {open_lives}"
    assert not stack.ledger.machines(open_only=True)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
