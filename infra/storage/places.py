"""From a key to a file below a root folder, never through a link, to wherever it leads."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

from infra.storage.store import BadKey, InTheWay, Missing, Stat, check_key
from infra.storage.trouble import in_words


def find(root: Path, key: str) -> Stat | None:
    """Return what is known of the key's file; None when there is none, be it a folder or behind a link."""
    if _obstacle(root, check_key(key)):
        return None
    found = _lstat(root / key)
    return as_stat(key, found) if found and stat.S_ISREG(found.st_mode) else None


def find_or_raise(root: Path, key: str) -> Stat:
    """Return what is known of the key's file. Raises Missing."""
    if found := find(root, key):
        return found
    raise missing(key)


def check_free(root: Path, key: str) -> None:
    """Raise InTheWay when no file can be put under the key, because something else has its place."""
    obstacle = _obstacle(root, check_key(key))
    here = _lstat(root / key)
    if not obstacle and here and not stat.S_ISREG(here.st_mode):
        obstacle = root / key
    if obstacle:
        kind = "folder" if obstacle.is_dir() and not obstacle.is_symlink() else "file or link"
        raise InTheWay(f"{key!r} cannot be written: the {kind} {obstacle} is in its place; move it away.")


def as_stat(key: str, found: os.stat_result) -> Stat:
    """Return a file's Stat; its version tells any two versions apart when their times differ."""
    return Stat(
        key=key,
        size=found.st_size,
        version=f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}",
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
    )


def is_key(name: str) -> bool:
    """Say whether a file's name can be a key at all."""
    try:
        check_key(name)
    except BadKey:
        return False
    return True


def missing(key: str) -> Missing:
    """Return the error for a key that has no file."""
    return Missing(f"There is no file {key!r} in the store.")


def _obstacle(root: Path, key: str) -> Path | None:
    """Return the first thing on the way to the key that is there but no folder."""
    place = root
    for part in key.split("/")[:-1]:
        place = place / part
        found = _lstat(place)
        if found and not stat.S_ISDIR(found.st_mode):
            return place
    return None


def _lstat(place: Path) -> os.stat_result | None:
    with in_words(f"looking at {place}"):
        try:
            return place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
