"""The process that makes a machine a member of the pool: `python -m workers.machine`.

It loads the model and runs it once before it joins, so that the first image finds a warm machine; then it is a Dask
worker over mutual TLS with one task at a time. It holds no credential but its own certificate. When it is told to
go (SIGTERM) it finishes the image in hand; when the scheduler is gone it ends by itself.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

log = logging.getLogger("spotlift.machine")

JOIN_DEADLINE = 60.0
"""Seconds without a scheduler after which the machine gives up and ends."""
LEAVE_DEADLINE = 90.0
"""Seconds that the image in hand may still take once the machine was told to go."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.machine", description=__doc__)
    parser.add_argument("--scheduler", required=True, help="address of the pool's Dask scheduler, tls://host:port")
    parser.add_argument("--authority", required=True, help="PEM file: certificate of the pool's authority")
    parser.add_argument("--certificate", required=True, help="PEM file: this machine's certificate")
    parser.add_argument("--key", required=True, help="PEM file: this machine's private key")
    parser.add_argument("--name", required=True, help="name of this machine, as the ledger knows it")
    parser.add_argument("--model", default="fast", help="model to load before joining [fast]")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads for TensorFlow, 0: all [0]")
    parser.add_argument("--scratch", default=None, help="folder for temporary files")
    return parser.parse_args(argv)


def warm_up(model: str) -> None:
    """Load the model and run it once, so that no image pays for it."""
    import numpy as np

    from workers.chunk import model_of

    upscaler = model_of(model, "")
    upscaler(np.zeros((1, 64, 64, 3), np.float32))


async def serve(options: argparse.Namespace) -> None:
    """Be a worker until told to go or until the scheduler is gone."""
    from distributed import Security, Worker

    from workers import chunk

    security = Security(
        tls_ca_file=options.authority,
        tls_worker_cert=options.certificate,
        tls_worker_key=options.key,
        require_encryption=True,
    )
    async with Worker(
        options.scheduler,
        name=options.name,
        nthreads=1,
        memory_limit=0,
        security=security,
        protocol="tls",
        death_timeout=JOIN_DEADLINE,
        local_directory=options.scratch,
        dashboard=False,
    ) as worker:
        log.info("%s joined %s", options.name, options.scheduler)
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        finished = asyncio.create_task(worker.finished())
        going = asyncio.create_task(told.wait())
        await asyncio.wait({finished, going}, return_when=asyncio.FIRST_COMPLETED)
        if told.is_set():
            log.info("%s was told to go", options.name)
            chunk.leaving.set()
            await _hands_empty(worker)
        going.cancel()


async def _hands_empty(worker: Any) -> None:
    """Wait until no task runs here, but no longer than the deadline."""
    until = time.monotonic() + LEAVE_DEADLINE
    while worker.state.executing_count and time.monotonic() < until:
        await asyncio.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    options = arguments(sys.argv[1:] if argv is None else argv)
    if options.threads:
        # Read by TensorFlow and by libvips when they are loaded.
        for variable in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "VIPS_CONCURRENCY"):
            os.environ.setdefault(variable, str(options.threads))
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    began = time.monotonic()
    warm_up(options.model)
    log.info("%s has %s loaded after %.1f s", options.name, options.model, time.monotonic() - began)
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
