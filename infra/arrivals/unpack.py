"""Unpacks a stranger's zip into a folder: all of it and nothing but its files, or not at all."""

import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from infra.arrivals.names import WISH, batch_name, is_image_name, same_file_key
from infra.arrivals.reasons import ArrivalError, ArrivalReason
from infra.arrivals.sweeping import UNPACKING
from infra.arrivals.zip_check import Entry, UnpackLimits, check_entries
from infra.arrivals.zip_end import find_end
from infra.storage.trouble import in_words

_CHUNK = 1 << 20  # bytes
_MOST_WISH_BYTES = 1 << 20
_BYTES_PER_ENTRY = 200  # of the list of contents, on average; zipfile holds the whole list in memory
# All that zipfile is known to raise on a file that is no good zip.
_DAMAGE = (zipfile.BadZipFile, EOFError, OverflowError, RuntimeError, ValueError, struct.error, zlib.error)
_A_LATER_COPY = re.compile(r"-\d+$| \(\d+\)$")  # "photos-2.zip" and "photos (1).zip" hold a folder "photos"
_DEFAULT = UnpackLimits()


def inspect(path: Path, limits: UnpackLimits = _DEFAULT) -> list[str]:
    """Return the names that `unpack` would unpack, and refuse what can be refused without unpacking."""
    with in_words(f"reading {path.name!r}"), _opened(path, limits) as archive:
        return sorted(_files(archive, path.name, limits))


def find_wish_in_zip(path: Path, limits: UnpackLimits = _DEFAULT) -> tuple[bytes | None, str]:
    """Return the content of the batch.toml in a zip, None without one, and its name for messages.

    Refuses what `inspect` refuses, and a zip without any image, so that a bad batch is told before a machine
    is rented for it. The file lies where `find_wish` would find it once the zip is unpacked.
    """
    where = f"{WISH} of {path.name}"
    with in_words(f"reading {path.name!r}"), _opened(path, limits) as archive:
        files = _files(archive, path.name, limits)
        if not any(is_image_name(name) for name in files):
            raise ArrivalError(ArrivalReason.EMPTY, f"There is no image in {path.name!r}.")
        tops = {name.partition("/")[0] for name in files}
        entry = files.get(WISH) or (files.get(f"{tops.pop()}/{WISH}") if len(tops) == 1 else None)
        if entry is None:
            return None, where
        with _blamed_on(path.name), archive.open(entry.info) as file:
            return file.read(_MOST_WISH_BYTES), where


def unpack(path: Path, into: Path, limits: UnpackLimits = _DEFAULT) -> list[str]:
    """Unpack a zip and return the relative names of its files, sorted.

    `into` appears as a whole when everything is unpacked, in place of what was there; the zip stays as it is.
    If all files lie in one folder named like the zip, that folder is left out. Hidden files and what desktops
    leave behind are not unpacked. Raises ArrivalError for a zip that is refused, StorageError when writing
    fails, which another try may heal.
    """
    temporary = into.parent / f"{UNPACKING}{uuid4().hex}"
    with in_words(f"unpacking {path.name!r}"), _opened(path, limits) as archive:
        files = _files(archive, path.name, limits)
        try:
            temporary.mkdir(parents=True)
            for name, entry in files.items():
                _extract(archive, entry, temporary / name, path.name)
            if into.exists():
                shutil.rmtree(into)
            temporary.replace(into)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return sorted(files)


@contextmanager
def _opened(path: Path, limits: UnpackLimits) -> Iterator[zipfile.ZipFile]:
    try:
        file = path.open("rb")
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        message = f"{path.name!r} cannot be read: {error.strerror}. Hand it in again."
        raise ArrivalError(ArrivalReason.UNREADABLE, message) from error
    with file:
        end = find_end(file)
        if end is None:
            raise _damaged(path.name, "its end is missing; it was cut short, or is no zip at all")
        if end.entries > limits.files or end.directory_bytes > limits.files * _BYTES_PER_ENTRY:
            message = (
                f"{path.name!r} is not unpacked: it lists {end.entries:,} files in {end.directory_bytes:,} "
                f"bytes, and {limits.files:,} files are allowed. Split it."
            )
            raise ArrivalError(ArrivalReason.TOO_LARGE, message)
        with _blamed_on(path.name):
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


@contextmanager
def _blamed_on(zip_name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(zip_name, str(error) or type(error).__name__) from error


def _damaged(zip_name: str, why: str) -> ArrivalError:
    message = f"{zip_name!r} is not a good zip: {why}. Zip it and hand it in again."
    return ArrivalError(ArrivalReason.DAMAGED, message)


def _files(archive: zipfile.ZipFile, zip_name: str, limits: UnpackLimits) -> dict[str, Entry]:
    return _without_own_folder(check_entries(archive.infolist(), zip_name, limits), zip_name)


def _without_own_folder(entries: Sequence[Entry], zip_name: str) -> dict[str, Entry]:
    """Map each name in the batch to its entry: `photos.zip` with `photos/a.png` is a batch with `a.png`."""
    stem = batch_name(zip_name)
    own = {same_file_key(stem), same_file_key(_A_LATER_COPY.sub("", stem))}
    tops = {same_file_key(top) if rest else "" for top, _, rest in (e.name.partition("/") for e in entries)}
    if len(tops) == 1 and tops <= own:
        return {entry.name.partition("/")[2]: entry for entry in entries}
    return {entry.name: entry for entry in entries}


def _extract(archive: zipfile.ZipFile, entry: Entry, target: Path, zip_name: str) -> None:
    """Write one file; zipfile reads no more than the declared size, which the limits have allowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("xb") as file, _blamed_on(zip_name), archive.open(entry.info) as source:
        while data := source.read(_CHUNK):
            written += file.write(data)
    if written != entry.info.file_size:
        raise _damaged(zip_name, f"{entry.name!r} in it has another size than its list of contents says")
