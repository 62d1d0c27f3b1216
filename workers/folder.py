"""Enhance a folder here and now: skip what is done, never stop for one image, tell of each as it ends.

Images overlap, because reading, writing and the network keep different parts of the computer busy.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workers.blame import blamed_on_the_image, rejected
from workers.choice import NamedUpscaler, Upscalers, upscaler_for
from workers.enhance import Enhanced, Limits, enhance_file, too_little_memory
from workers.naming import is_image_name, output_names
from workers.rejects import Rejected, RejectReason
from workers.turns import Shares, Turns, overlapped


@dataclass(frozen=True)
class Pair:
    """An image and where its result goes."""

    name: str
    source: Path
    target: Path
    bytes: int = 0
    rejected: Rejected | None = None
    """Why it is not even tried: a link to nothing, a pipe, a folder that may not be looked into."""

    def is_done(self) -> bool:
        """Whether there is a result that is not older than the image."""
        try:
            result = self.target.stat()
            return stat.S_ISREG(result.st_mode) and result.st_mtime_ns >= self.source.stat().st_mtime_ns
        except OSError:
            return False


@dataclass(frozen=True)
class Ended:
    """How one image ended: enhanced, or rejected with a reason."""

    pair: Pair
    enhanced: Enhanced | None = None
    rejected: Rejected | None = None
    model: str = ""
    """The name of the model that enlarged it."""


def pairs(source: Path, out: Path, output_format: str | None = None) -> list[Pair]:
    """The images below the folder `source` in order, each with its place below `out`; hidden ones are left out.

    `out` may lie inside `source`: results are not enhanced again. Links to images are followed, links to folders are
    not. What cannot be enhanced for sure, and folders that may not be looked into, come as rejected. Raises
    ValueError for an unknown format, OSError when `source` itself cannot be looked into.
    """
    found: list[Path] = []
    locked: list[Pair] = []

    def note(error: OSError) -> None:
        if Path(error.filename) == source:
            raise error
        name = Path(error.filename).relative_to(source).as_posix()
        locked.append(Pair(f"{name}/", source / name, out / name, rejected=rejected(error)))

    for folder, folders, files in os.walk(source, onerror=note):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and here / name != out)
        found += [here / name for name in sorted(files) if is_image_name(name) and not name.startswith(".")]
    names = {path.relative_to(source).as_posix(): path for path in found}
    targets = output_names(list(names), output_format)
    return [pair(name, path, out / targets[name]) for name, path in sorted(names.items())] + locked


def pair(name: str, source: Path, target: Path) -> Pair:
    """An image and where its result goes; rejected when it is no regular file, nor a link to one."""
    try:
        with blamed_on_the_image():
            found = source.stat()
    except Rejected as reject:
        return Pair(name, source, target, rejected=reject)
    if stat.S_ISREG(found.st_mode):
        return Pair(name, source, target, found.st_size)
    no_file = Rejected(RejectReason.NOT_AN_IMAGE, f"{source.name} is a pipe, a folder or a device, not a regular file.")
    return Pair(name, source, target, rejected=no_file)


def prepare(out: Path) -> None:
    """Make the folder for results. Raises OSError when it cannot be made or written into, before any work is done."""
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(out))


def enhance_all(
    todo: Sequence[Pair], upscaler: NamedUpscaler | Upscalers, limits: Limits | None = None
) -> Iterator[Ended]:
    """Enhance all, several at a time, yielding each as it ends. Raises OSError for what is no single image's fault: a
    full or failing disk.

    When the caller stops, what is in hand is finished and the rest is left for the next time.
    """
    turns, shares = Turns(), Shares()
    for _, ended in overlapped(todo, lambda pair: _one(pair, upscaler, limits, turns, shares)):
        yield ended


def _one(pair: Pair, among: NamedUpscaler | Upscalers, limits: Limits | None, turns: Turns, shares: Shares) -> Ended:
    if pair.rejected is not None:
        return Ended(pair, rejected=pair.rejected)
    try:
        with blamed_on_the_image():
            pair.target.parent.mkdir(parents=True, exist_ok=True)
            if pair.target.is_dir():  # told before the work, not after it
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(pair.target))
            upscaler = upscaler_for(pair.source, among)
            with shares.counted() as seconds:
                done = enhance_file(pair.source, pair.target, upscaler, limits, turns=turns)
                return Ended(pair, enhanced=replace(done, seconds=seconds()), model=upscaler.name)
    except Rejected as reject:
        return Ended(pair, rejected=reject)
    except MemoryError:
        return Ended(pair, rejected=too_little_memory())
    except OSError:
        raise  # a full disk is not the image's fault
    except Exception as error:  # noqa: BLE001 - one image never stops the others, whatever is wrong with it
        return Ended(pair, rejected=Rejected(RejectReason.UNEXPECTED, f"it could not be enhanced: {error!r}"))
