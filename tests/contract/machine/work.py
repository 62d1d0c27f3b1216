"""Work for machines in tests: as a chunk is worked off, with images that are files to wait for."""

import os
import time
from pathlib import Path
from typing import Any

from workers import chunk


def images(job: tuple[str, tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """Each image is begun by touching `begun-N` and lasts until there is `end-N`; the images done and those left."""
    folder, numbers = Path(job[0]), job[1]
    for position, number in enumerate(numbers):
        if chunk.leaving.is_set():
            return list(numbers[:position]), list(numbers[position:])
        (folder / f"begun-{number}").touch()
        while not (folder / f"end-{number}").exists():
            time.sleep(0.005)
        (folder / f"ended-{number}").touch()
    return list(numbers), []


def name_and_gpu(dask_worker: Any) -> tuple[str, str | None]:
    return str(dask_worker.name), os.environ.get("CUDA_VISIBLE_DEVICES")


def name(seconds: float) -> str:
    """Who did it, after so many seconds."""
    from distributed import get_worker

    time.sleep(seconds)
    return str(get_worker().name)


def die(_: object) -> None:
    os._exit(9)


def listens_at() -> list[str]:
    """The addresses at which this process listens."""
    import psutil

    return [at.laddr.ip for at in psutil.Process().net_connections() if at.status == psutil.CONN_LISTEN]
