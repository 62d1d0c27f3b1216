"""One worker process of a machine: `python -m workers.machine.member`.

It loads the model and runs it once before it joins, so that the first image finds a warm machine; then it is a Dask
worker over mutual TLS with one task at a time. It holds no credential but its own certificate. When it is told to
go (SIGTERM) it gets nothing new, finishes the image in hand, hands back the rest and leaves; when the scheduler is
gone it ends by itself.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from workers.catalogue import AUTO, BEST, FAST, shipped
from workers.machine.watchdog import End, Sign

log = logging.getLogger("spotlift.machine")

JOIN_PATIENCE = 60.0
"""Seconds without certificate or scheduler after which it gives up and ends."""
LEAVE_PATIENCE = 90.0
"""Seconds that the image in hand may still take once it was told to go."""
FETCH_PATIENCE = 5.0
"""Seconds in which whoever waits for the last result must have fetched it."""
CLOSE_PATIENCE = 5.0
LOOK_EVERY = 0.02
SIGN_EVERY = 0.5
PASSED_ON = ("ready", "constrained", "waiting")
"""States of tasks that this worker was given and has not begun."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.machine.member", description=__doc__)
    parser.add_argument("--scheduler", required=True, help="address of the pool's Dask scheduler, tls://host:port")
    parser.add_argument("--authority", required=True, help="PEM file: certificate of the pool's authority")
    parser.add_argument("--certificate", required=True, help="PEM file: this machine's certificate; it may come later")
    parser.add_argument("--key", required=True, help="PEM file: this machine's private key")
    parser.add_argument("--name", required=True, help="name of this worker, as the ledger knows its machine")
    parser.add_argument("--model", default=AUTO, help=f"model to load before joining, empty: none [{AUTO}]")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads for TensorFlow, 0: all [0]")
    parser.add_argument("--scratch", default=None, help="folder for temporary files")
    parser.add_argument("--sign", type=Path, default=None, help="file to write signs of life and of work to")
    parser.add_argument(
        "--patience", type=float, default=JOIN_PATIENCE, help=f"seconds without a scheduler [{JOIN_PATIENCE:.0f}]"
    )
    return parser.parse_args(argv)


def warm_up(model: str) -> None:
    """Load the model and run it once, so that no image pays for it; for `auto`, what batches will likely ask for."""
    import numpy as np

    from workers.choice import load_wished
    from workers.runtime import tensorflow

    auto_tier = BEST if os.environ.get("CUDA_VISIBLE_DEVICES") else FAST
    for upscaler in load_wished(model, shipped().some_scale(model), auto_tier=auto_tier).all:
        upscaler.pixels(np.zeros((1, 64, 64, 3), np.uint8))
    if os.environ.get("CUDA_VISIBLE_DEVICES") and not tensorflow().config.list_physical_devices("GPU"):
        log.warning("TensorFlow finds no GPU here, whatever this machine costs; images are enlarged on the CPU")


async def serve(options: argparse.Namespace, supervisor: int) -> End:
    """Be a worker until told to go, let go, without a scheduler, or without the process of that id."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    going = asyncio.create_task(told.wait())
    until = time.monotonic() + options.patience
    if not await _unless(going, _is_there(Path(options.certificate), until)):
        log.info("%s ends without a certificate", options.name)
        return End.GONE if told.is_set() else End.NO_SCHEDULER
    worker = _worker(options, until - time.monotonic())
    try:
        if await _unless(going, _start(worker)) is None:
            await worker.close()
            return End.GONE
    except (TimeoutError, RuntimeError) as error:
        log.warning("%s cannot join %s: %s", options.name, options.scheduler, error.__cause__ or error)
        return End.NO_SCHEDULER
    log.info("%s joined %s", options.name, options.scheduler)
    signing = asyncio.create_task(_sign(worker, options.sign, told, supervisor)) if options.sign else None
    await _unless(going, worker.finished())
    if told.is_set():
        log.info("%s was told to go", options.name)
        await leave(worker)
        log.info("%s has left", options.name)
    if signing is not None:
        signing.cancel()
    return End.GONE if told.is_set() else End(worker.end)


async def leave(worker: Any) -> None:
    """Take nothing new, pass on what was not begun, finish what is in hand, and close once nobody needs the worker.

    A paused worker begins no task, and the scheduler sends it none; those it had sent before are passed on as soon as
    they are seen. Retiring comes last: the scheduler would give what is still in hand to another machine as well.
    """
    from distributed.core import Status

    from workers import chunk

    chunk.leaving.set()
    worker.status = Status.paused
    await _until(lambda: not _busy(worker), LEAVE_PATIENCE)
    await _until(lambda: not _busy(worker) and not worker.data, FETCH_PATIENCE)
    try:
        await asyncio.wait_for(worker.close_gracefully(), CLOSE_PATIENCE)
    except (OSError, TimeoutError) as error:
        log.info("the scheduler does not answer to a good-bye: %r", error)
        await worker.close()


def _busy(worker: Any) -> bool:
    """Whether a task is in hand. What was not begun goes back to the scheduler, which gives it to another machine."""
    for task in list(worker.state.tasks.values()):
        if task.state in PASSED_ON:
            message = {"op": "reschedule", "key": task.key, "worker": worker.address}
            worker.batched_send({**message, "stimulus_id": f"leaving-{time.time()}"})
    return bool(worker.state.executing_count)


async def _until(holds: Callable[[], bool], patience: float) -> None:
    """Wait until that holds, but no longer than that many seconds."""
    until = time.monotonic() + patience
    while not holds() and time.monotonic() < until:
        await asyncio.sleep(LOOK_EVERY)


async def _unless(told: "asyncio.Task[bool]", what: Awaitable[Any]) -> Any:
    """What comes of it; None when told to go before. What it raises is raised here."""
    doing = asyncio.ensure_future(what)
    await asyncio.wait({told, doing}, return_when=asyncio.FIRST_COMPLETED)
    if doing.done():
        return doing.result()
    doing.cancel()
    await asyncio.wait({doing}, timeout=CLOSE_PATIENCE)
    return None


async def _is_there(path: Path, until: float) -> bool:
    while not path.exists():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(LOOK_EVERY)
    return True


async def _start(worker: Any) -> Any:
    return await worker


def _worker(options: argparse.Namespace, patience: float) -> Any:
    """The Dask worker, not yet started; `end` says why it closed."""
    from distributed import Security, Worker
    from distributed.core import Status

    class Member(Worker):  # type: ignore[misc]
        """A worker that knows why it closes, and does not wait for a thread that hangs."""

        end: End | None = None

        async def close(self, *args: Any, reason: str = "worker-close", **options: Any) -> Any:
            if self.end is None:  # the first reason counts: the broken connection comes after every other
                let_go = self.status is Status.closing_gracefully or reason == "scheduler-close"
                self.end = End.GONE if let_go else End.NO_SCHEDULER
            return await super().close(*args, reason=reason, **{**options, "executor_wait": False})

    security = Security(
        tls_ca_file=options.authority,
        tls_worker_cert=options.certificate,
        tls_worker_key=options.key,
        require_encryption=True,
    )
    return Member(
        options.scheduler,
        name=options.name,
        nthreads=1,
        memory_limit=0,
        security=security,
        protocol="tls",
        death_timeout=max(patience, 1.0),
        local_directory=options.scratch,
        dashboard=False,
        dashboard_address="127.0.0.1:0",  # even without a dashboard there is a plain HTTP server, for nobody outside
    )


async def _sign(worker: Any, path: Path, told: asyncio.Event, supervisor: int) -> None:
    """Tell the supervisor again and again that the worker is joined and when it had work; go when it is gone itself."""
    worked, seen = time.monotonic(), worker.state.transition_counter
    while True:
        now = time.monotonic()
        if worker.state.executing_count or worker.state.transition_counter != seen:
            worked, seen = now, worker.state.transition_counter
        Sign(joined=now, worked=worked).leave(path)
        if os.getppid() != supervisor:
            log.warning("nobody watches over %s any more", worker.name)
            told.set()
            return
        await asyncio.sleep(SIGN_EVERY)


def main(argv: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options = arguments(sys.argv[1:] if argv is None else argv)
    supervisor = os.getppid()  # asked for now: it may die while the model loads
    if options.threads:
        # Read by TensorFlow and by libvips when they are loaded.
        for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "VIPS_CONCURRENCY"):
            os.environ.setdefault(variable, str(options.threads))
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    if options.model:
        began = time.monotonic()
        warm_up(options.model)
        log.info("%s has %s loaded after %.1f s", options.name, options.model, time.monotonic() - began)
    end = asyncio.run(serve(options, supervisor))
    # A thread that hangs in a task must not keep the process.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(end)


if __name__ == "__main__":
    sys.exit(main())
