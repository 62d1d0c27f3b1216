"""Enhance a folder here and now: skip what is done, never stop for one image, tell of each as it ends.

Images overlap, because reading, writing and the network keep different parts of the computer busy.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from workers.enhance import Enhanced, Limits, Upscaler, enhance_file
from workers.naming import is_image_name, output_names
from workers.rejects import Rejected, RejectReason

AT_A_TIME = 2


@dataclass(frozen=True)
class Pair:
    """An image and where its result goes."""

    name: str
    source: Path
    target: Path
    bytes: int

    def is_done(self) -> bool:
        """Whether there is a result that is not older than the image."""
        try:
            return self.target.stat().st_mtime_ns >= self.source.stat().st_mtime_ns
        except OSError:
            return False


@dataclass(frozen=True)
class Ended:
    """How one image ended: enhanced, or rejected with a reason."""

    pair: Pair
    enhanced: Enhanced | None = None
    rejected: Rejected | None = None


def pairs(source: Path, out: Path, output_format: str | None = None) -> list[Pair]:
    """The images below the folder `source` in order, each with its place below `out`; hidden ones are left out.

    `out` may lie inside `source`: results are not enhanced again. Raises ValueError for an unknown format.
    """
    found = []
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and here / name != out)
        found += [here / name for name in sorted(files) if is_image_name(name) and not name.startswith(".")]
    names = {path.relative_to(source).as_posix(): path for path in found}
    targets = output_names(list(names), output_format)
    return [Pair(name, path, out / targets[name], path.stat().st_size) for name, path in sorted(names.items())]


def enhance_all(todo: Sequence[Pair], upscaler: Upscaler, limits: Limits = Limits()) -> Iterator[Ended]:
    """Enhance one after the other, yielding each as it ends. Raises OSError when results cannot be written.

    When the caller stops, what is in hand is finished and the rest is left for the next time.
    """
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="enhance") as pool:
        running: set[Future[Ended]] = set()
        waiting = iter(todo)
        try:
            while True:
                while len(running) < AT_A_TIME and (pair := next(waiting, None)) is not None:
                    running.add(pool.submit(_one, pair, upscaler, limits))
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _one(pair: Pair, upscaler: Upscaler, limits: Limits) -> Ended:
    try:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        return Ended(pair, enhanced=enhance_file(pair.source, pair.target, upscaler, limits))
    except Rejected as rejected:
        return Ended(pair, rejected=rejected)
    except OSError:
        raise  # a full disk is not the image's fault
    except Exception as error:  # noqa: BLE001 - one image never stops the others, whatever is wrong with it
        return Ended(pair, rejected=Rejected(RejectReason.UNEXPECTED, f"it could not be enhanced: {error!r}"))
