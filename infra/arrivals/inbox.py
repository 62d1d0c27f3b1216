"""What lies in the inbox, and is it complete? A look takes no notes, so any watcher may take the next one.

Times are the file system's change times (ctime), because copying programs set modification times back.
"""

import hashlib
import os
import stat
import struct
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.arrivals.names import (
    READY,
    batch_name,
    check_batch_name,
    is_noise,
    is_unfinished,
    is_unicode,
    is_zip_name,
    printable,
    printable_name,
)
from infra.arrivals.reasons import ArrivalError, ArrivalReason
from infra.arrivals.walk import walk
from infra.arrivals.zip_end import find_end
from infra.states import SourceKind
from infra.storage.trouble import in_words, sentence

ZIP_QUIET = timedelta(seconds=1)  # a zip tells by itself that it is complete; this is for its last bytes
GIVE_UP = timedelta(minutes=10)  # an upload that has stood still for so long will not go on


@dataclass(frozen=True)
class Arrival:
    """One folder or zip in the inbox, as it was at one look."""

    name: str  # of the batch: the folder's, or the zip's without .zip; a printable stand-in for a bad one
    source: str  # what it is called in the inbox
    path: Path
    kind: SourceKind
    fingerprint: str  # of names, sizes and modification times; another one means other contents
    files: int
    bytes: int
    changed_at: datetime  # UTC; the last change of anything in it
    marked_ready: bool  # a folder with a _READY file
    whole: bool  # a zip with its end, a folder without unfinished downloads
    refusal: ArrivalError | None = None  # it can never be taken like this

    def check(self) -> None:
        """Raise ArrivalError when the arrival itself can be no batch; its contents are not looked at."""
        if self.refusal:
            raise self.refusal


def look(inbox: Path, skip: Container[str] = ()) -> list[Arrival]:
    """Return the folders and zips in the inbox, sorted; one that is not there yet is empty.

    Entries in `skip` (by `Arrival.source`) are not looked into, so that the many batches that were taken
    already cost nothing. Raises StorageError when the inbox itself cannot be read.
    """
    places = [place for place in _entries(inbox) if place.name not in skip]
    return [arrival for place in places if (arrival := _arrival_or_none(place))]


def find(inbox: Path, source: str) -> Arrival | None:
    """Return what lies in the inbox as `source` now, as `look` would; None when there is nothing to take.

    Raises StorageError when the inbox itself cannot be read.
    """
    is_entry = source not in ("", ".", "..") and "/" not in source and "\0" not in source
    if not is_entry or _is_passed_over(source):
        return None
    return _arrival_or_none(inbox / source)


def strays(inbox: Path) -> list[str]:
    """Return, in print, the names of what lies beside the batches, where nobody will take it."""
    return [printable(place.name) for place in _entries(inbox) if not _may_be_batch(place)]


def is_ready(arrival: Arrival, now: datetime, quiet: timedelta) -> bool:
    """Say whether an arrival can be worked on, even if only to be refused.

    A folder is ready with its _READY file, or when nothing in it changed for `quiet`; a zip when its end is
    there. One that stays incomplete for ten minutes is ready too: opening it will say what is wrong.
    """
    rest = now - arrival.changed_at
    if arrival.refusal:
        return rest >= quiet
    if arrival.kind is SourceKind.ZIP:
        return rest >= (ZIP_QUIET if arrival.whole else GIVE_UP)
    if arrival.marked_ready:
        return True
    return arrival.files > 0 and rest >= (quiet if arrival.whole else max(quiet, GIVE_UP))


def _entries(inbox: Path) -> list[Path]:
    with in_words(f"looking into the inbox {inbox}"):
        try:
            return sorted(place for place in inbox.iterdir() if not _is_passed_over(place.name))
        except FileNotFoundError:
            return []


def _is_passed_over(name: str) -> bool:
    return is_noise(name) or is_unfinished(name)


def _may_be_batch(place: Path) -> bool:
    """Folders and zips; a name that is not Unicode could not even be written into the ledger."""
    return is_unicode(place.name) and (_is_folder(place) or is_zip_name(place.name))


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:
        return False  # a link to where we may not look


def _arrival_or_none(place: Path) -> Arrival | None:
    with in_words(f"looking at {place}"):
        try:
            own = place.lstat()
            return _arrival(place, own) if _may_be_batch(place) else None
        except FileNotFoundError:
            return None  # somebody took it away while we looked


def _arrival(place: Path, own: os.stat_result) -> Arrival:
    name, refusal = _name(place, own)
    found = [("", own)]
    try:
        found += walk(place) if stat.S_ISDIR(own.st_mode) else []
    except OSError as error:
        refusal = ArrivalError(ArrivalReason.UNREADABLE, sentence(error, f"looking into {place.name!r}"))
    files = [(name, info) for name, info in found if stat.S_ISREG(info.st_mode) and not is_noise(name)]
    return Arrival(
        name=name,
        source=place.name,
        path=place,
        kind=SourceKind.FOLDER if _is_folder(place) else SourceKind.ZIP,
        fingerprint=_fingerprint(files),
        files=sum(name != READY for name, _ in files),
        bytes=sum(info.st_size for _, info in files),
        changed_at=datetime.fromtimestamp(max(info.st_ctime for _, info in found), UTC),
        marked_ready=any(name == READY for name, _ in files),
        whole=_is_whole_zip(place) if stat.S_ISREG(own.st_mode) else _is_whole_folder(files),
        refusal=refusal,
    )


def _name(place: Path, own: os.stat_result) -> tuple[str, ArrivalError | None]:
    """Return the batch's name, and why it is refused if that can be told from outside."""
    name = place.name if _is_folder(place) else batch_name(place.name)
    refusal = None
    try:
        check_batch_name(name)
    except ArrivalError as error:
        name, refusal = printable_name(name), error
    if not (stat.S_ISDIR(own.st_mode) or stat.S_ISREG(own.st_mode)):
        message = f"{name!r} in the inbox is a link, or no file at all. Hand in the folder or zip itself."
        refusal = ArrivalError(ArrivalReason.LINK, message)
    return name, refusal


def _fingerprint(files: list[tuple[str, os.stat_result]]) -> str:
    digest = hashlib.sha256()
    for name, info in sorted(files, key=lambda file: file[0]):
        if name != READY:
            digest.update(name.encode(errors="surrogateescape") + b"\0")
            digest.update(struct.pack(">qq", info.st_size, info.st_mtime_ns))
    return digest.hexdigest()


def _is_whole_folder(files: list[tuple[str, os.stat_result]]) -> bool:
    return not any(is_unfinished(name) for name, _ in files)


def _is_whole_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return find_end(file) is not None
    except PermissionError:
        return True  # opening it will say so
