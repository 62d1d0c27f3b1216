"""Two thousand small images through the whole stack: what ledger, Prefect and dispatch add to the work itself."""

import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.processes import marked
from infra.states import ImageState
from tests.bench.table import show
from tests.story.pictures import draw
from tests.story.stack import Stack, running_stack

IMAGES = 2000
SIDE = 64
MACHINES = 2
WITHIN = 1800.0
AIM = 5.0
"""Milliseconds per image that everything but the work itself may cost."""


def measure() -> None:
    """Print the seconds of each part of the story, the overhead per image, and what the controller needs."""
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as name:
        root = Path(name)
        for number in range(IMAGES):
            draw(root / "in" / f"{number:04d}.png", SIDE, SIDE, seed=number)
        # A first small batch brings the pool up and shows the speed, as in any life but the first.
        draw(root / "first" / "one.png", SIDE, SIDE, seed=0)
        with running_stack(root, machines=MACHINES, machine_threads=1) as stack:
            stack.ended(stack.submit(root / "first", "first"))
            usage = Usage(str(stack.state))
            with usage:
                began = time.time()
                batch = stack.submit(root / "in", "many")
                stack.eventually("the batch has ended", lambda: _has_ended(stack, batch), WITHIN)
            _report(stack, batch, began, usage)


def _has_ended(stack: Stack, batch: str) -> bool:
    row = stack.ledger.find_batch(batch)
    return row is not None and row.finished_at is not None


def _report(stack: Stack, batch: str, began: float, usage: "Usage") -> None:
    row = stack.ledger.batch(batch)
    images = stack.ledger.images(row.id, ImageState.DONE)
    assert len(images) == IMAGES
    assert row.registered_at is not None
    assert row.started_at is not None
    assert row.finished_at is not None
    machine_seconds = sum(image.seconds or 0.0 for image in images)
    [in_run] = stack.ended_runs(batch)
    assert in_run.start_time is not None
    assert in_run.end_time is not None
    enhancing = (row.finished_at - row.started_at).total_seconds()
    overhead = (in_run.total_run_time.total_seconds() - machine_seconds / MACHINES) / IMAGES * 1000
    seconds = [
        ("hand in, and be taken", row.arrived_at.timestamp() - began),
        ("start of its process", (in_run.start_time - row.arrived_at).total_seconds()),
        ("register", (row.registered_at - in_run.start_time).total_seconds()),
        ("capacity", (row.started_at - row.registered_at).total_seconds()),
        ("enhance", enhancing),
        ("of which the images themselves", machine_seconds / MACHINES),
        ("outcomes and report", (in_run.end_time - row.finished_at).total_seconds()),
        ("process-batch, all in all", in_run.total_run_time.total_seconds()),
    ]
    chunks = len(stack.ledger.chunks(row.id))
    title = f"{IMAGES} images of {SIDE} × {SIDE} pixels on {MACHINES} machines, {chunks} chunks"
    per_image = [(what, took, took / IMAGES * 1000) for what, took in seconds]
    show(title, ("", "seconds", "ms per image"), per_image)
    print(f"process-batch without the images themselves: {overhead:.1f} ms per image (aim: below {AIM:.0f})\n")
    show(
        "what the processes needed meanwhile",
        ("", "peak MiB", "CPU seconds", "CPU ms per image"),
        [(kind, usage.peak[kind] / 2**20, usage.cpu(kind), usage.cpu(kind) / IMAGES * 1000) for kind in usage.peak],
    )
    print(f"peak of all but the machines, together: {usage.controller / 2**20:.0f} MiB")


@dataclass
class Usage:
    """Memory and CPU time of a stack's processes by what they are, sampled while the block runs."""

    mark: str
    peak: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    controller: int = 0
    _cpu: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Usage":
        self._sample()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        assert self._thread is not None
        self._thread.join()
        self._sample()

    def cpu(self, kind: str) -> float:
        """CPU seconds that processes of this kind used, all together."""
        return sum(last - first for (name, _), (first, last) in self._cpu.items() if name == kind)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self._sample()

    def _sample(self) -> None:
        memory: dict[str, int] = defaultdict(int)
        for pid in marked(self.mark):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                kind = _kind(" ".join(process.cmdline()))
                times = process.cpu_times()
                first = self._cpu.setdefault((kind, pid), [times.user + times.system, 0.0])
                first[1] = times.user + times.system
                memory[kind] += process.memory_info().rss
        for kind, size in memory.items():
            self.peak[kind] = max(self.peak[kind], size)
        self.controller = max(self.controller, sum(size for kind, size in memory.items() if kind != "machines"))


def _kind(command: str) -> str:
    for word, kind in (
        ("workers.machine", "machines"),
        ("dask_scheduler", "Dask scheduler"),
        ("server start", "Prefect server"),
        ("worker start", "Prefect workers"),
        ("prefect", "flow runs"),
        ("spotlift submit", "spotlift submit"),
    ):
        if word in command:
            return kind
    return "others"
