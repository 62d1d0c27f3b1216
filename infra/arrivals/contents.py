"""What is in a batch: its images with their sizes from the header, and what is passed over, and why.

No image is decoded here: that happens on the machines, where a hostile file can do little harm.
"""

import errno
import os
import stat
from dataclasses import dataclass
from io import SEEK_SET
from pathlib import Path
from typing import BinaryIO

import imagesize

from infra.arrivals.names import READY, WISH, is_image_name, is_noise, printable, unprintable
from infra.arrivals.reasons import ArrivalError, ArrivalReason, WishError
from infra.arrivals.walk import walk
from infra.storage.places import is_key
from infra.storage.trouble import in_words

# imagesize reads more kinds of files than we take, XML among them; only these beginnings are shown to it.
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8", b"RIFF", b"II*\0", b"II+\0", b"MM\0*", b"BM", b"GIF8")
_MOST_READS = 5_000  # an honest header takes dozens of reads, one made to waste time takes billions
_MOST_WISH_BYTES = 1 << 20


@dataclass(frozen=True)
class FoundImage:
    """One image of a batch, before anything was done with it."""

    name: str  # relative POSIX name
    bytes: int
    width: int | None  # pixels as shown (after EXIF orientation), from the header; None if not easily known
    height: int | None


@dataclass(frozen=True)
class Ignored:
    """A file of a batch that is passed over."""

    name: str  # relative, printable
    why: str


@dataclass(frozen=True)
class Survey:
    """What a batch holds, sorted by name."""

    images: tuple[FoundImage, ...]
    ignored: tuple[Ignored, ...]


def survey(folder: Path, called: str = "") -> Survey:
    """Return what is in a batch's folder, at any depth. Raises ArrivalError (EMPTY) if there is no image.

    `called` names the batch in messages, if it is not the folder's name. Links are not followed. Hidden files,
    what desktops leave behind, batch.toml and _READY are not mentioned.
    """
    images, ignored = [], []
    with in_words(f"looking through {folder.name!r}"):
        for name, info in sorted(walk(folder), key=lambda found: found[0]):
            if stat.S_ISDIR(info.st_mode) or is_noise(name) or name.rpartition("/")[2] in (READY, WISH):
                continue
            if why := _why_ignored(name, info.st_mode):
                ignored.append(Ignored(printable(name), why))
            else:
                images.append(FoundImage(name, info.st_size, *_size(folder / name)))
    if not images:
        raise ArrivalError(ArrivalReason.EMPTY, _nothing_found(called or folder.name, ignored))
    return Survey(tuple(images), tuple(ignored))


def find_wish(folder: Path, called: str = "") -> tuple[bytes | None, str]:
    """Return the content of a batch's batch.toml, None without one, and its name for messages.

    `called` names the batch in messages, if it is not the folder's name. The file lies at the top, or in the
    only folder at the top. Raises WishError when it cannot be read.
    """
    place = folder / WISH
    if not place.exists():
        tops = [top for top in folder.iterdir() if not is_noise(top.name) and top.name != READY]
        if len(tops) == 1 and tops[0].is_dir() and not tops[0].is_symlink():
            place = tops[0] / WISH
    where = f"{WISH} of {called or folder.name}"
    try:
        with open(place, "rb", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise WishError(f"{where} is not a regular file; put a text file of this name into the batch.")
            return file.read(_MOST_WISH_BYTES), where
    except FileNotFoundError:
        return None, where
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise WishError(f"{where} is a link; put the file itself into the batch.") from error
        raise WishError(f"{where} cannot be read: {error.strerror}.") from error


def _at_once(place: str, flags: int) -> int:
    """Open a file without following a link, and without waiting for the other end of a pipe."""
    return os.open(place, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _why_ignored(name: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link; links are not followed"
    if not stat.S_ISREG(mode):
        return "not a file"
    if not is_image_name(name):
        return "not an image by its name"
    if unprintable(name) or not is_key(name):
        return "its name is not valid Unicode, holds control characters or is too long; rename it"
    return ""


def _nothing_found(name: str, ignored: list[Ignored]) -> str:
    others = ", ".join(f"{other.name} ({other.why})" for other in ignored[:3])
    more = f", and {len(ignored) - 3} more" if len(ignored) > 3 else ""
    passed = f" Passed over: {others}{more}." if ignored else ""
    return f"There is no image in {name!r}: names must end in png, jpg, webp, tif, bmp, gif or the like.{passed}"


def _size(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Return width × height in pixels from an image's header, None if it cannot be had cheaply."""
    try:
        with path.open("rb") as file:
            known = file.read(4).startswith(_BEGINNINGS)
            width, height = imagesize.get(_Patient(file)) if known else (0, 0)
    except (PermissionError, FileNotFoundError):
        return None, None  # the machine that gets it will say so
    return (width, height) if width > 0 and height > 0 else (None, None)


class _Patient:
    """A file that allows only so many reads, because a header can be made to take hours to search.

    imagesize turns what it raises into "unknown".
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes. Raises ValueError once there were too many reads."""
        self._reads += 1
        if self._reads > _MOST_READS:
            raise ValueError("too many reads for the header of an image")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to another place of the file."""
        return self._file.seek(offset, whence)
