"""What every store promises, whatever lies behind it: whole files, create-only and if-unchanged writes."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, TypeAlias


class StorageError(Exception):
    """The store could not do what was asked; the message is a sentence for the user."""


class Missing(StorageError):
    """There is no file under this key."""


class AlreadyThere(StorageError):
    """A create-only write found a file under the key."""


class Changed(StorageError):
    """An if-unchanged write found another version than the one it was told to expect."""


class BadKey(StorageError):
    """The key can name no file of a store."""


class InTheWay(StorageError):
    """Something that is no file of the store has the key's place."""


class Condition(Enum):
    """What must hold for a write, when it is not one certain version."""

    ANY = "any"  # write in any case
    ABSENT = "absent"  # write only if there is nothing yet


ANY: Final = Condition.ANY
ABSENT: Final = Condition.ABSENT

# A write happens in any case, only if nothing is there, or only if the file still has this version.
If: TypeAlias = str | Condition


@dataclass(frozen=True, slots=True)
class Stat:
    """One version of one file."""

    key: str
    size: int  # bytes
    version: str  # opaque; equal only for the same version of the same file
    modified: datetime  # UTC


class Store(Protocol):
    """Files by key, a key being a relative POSIX name such as `photos/2026/cat.png`.

    A reader never sees half a file: every write appears as a whole or not at all. Of many create-only
    writes exactly one wins, and an if-unchanged write never undoes a write that it has not seen; to change a
    file, take `stat` first, then `read`, then `write(..., if_version=stat.version)`.

    Every method raises BadKey for a key that can name no file, and StorageError when the store cannot be
    reached, is full or forbids it.
    """

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the files whose key starts with `prefix`, sorted by key."""

    def stat(self, key: str) -> Stat | None:
        """Return the current version of a file, or None when there is no such file."""

    def read(self, key: str) -> bytes:
        """Return the content of a file. Raises Missing."""

    def write(self, key: str, data: bytes, *, if_version: If = ANY) -> Stat:
        """Write a file as a whole. Raises AlreadyThere (for ABSENT) or Changed (for a version)."""

    def download(self, key: str, path: Path) -> Stat:
        """Copy a file to a local path, there too as a whole. Raises Missing."""

    def upload(self, path: Path, key: str, *, if_version: If = ANY) -> Stat:
        """Copy a local file into the store. Raises AlreadyThere or Changed, and Missing without the file."""

    def copy(self, source: str, target: str, *, if_version: If = ANY) -> Stat:
        """Copy a file inside the store; `if_version` is about the target. Raises Missing for the source."""

    def delete(self, key: str, *, if_version: If = ANY) -> None:
        """Delete a file. A file that is gone already is no error, unless a version was expected (Changed)."""

    def local_path(self, key: str) -> Path | None:
        """Return a path to read the file from without a copy, or None when the store is not local.

        The path is for reading, and for now: a later write puts another file there.
        """


MAX_KEY_BYTES = 1024  # what Cloud Storage allows for an object's name
MAX_NAME_BYTES = 255  # what Linux allows for one name in a folder
RESERVED = ".spotlift-"  # names that start like this are the store's own


def check_key(key: str) -> str:
    """Return the key unchanged when it can name a file in every kind of store. Raises BadKey."""
    if not key or key.startswith("/") or key.endswith("/"):
        raise BadKey(f"{key!r} is no key: give a relative name such as 'photos/cat.png'.")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise BadKey(f"{key!r} is no key: the name is not valid Unicode; rename the file.") from None
    if not key.isprintable() and any(unicodedata.category(char) == "Cc" for char in key):
        raise BadKey(f"{key!r} is no key: it holds a control character; rename the file.")
    if len(encoded) > MAX_KEY_BYTES:
        raise BadKey(f"The key {key[:60]!r}… is too long: {len(encoded)} bytes, {MAX_KEY_BYTES} are allowed.")
    for part in key.split("/"):
        if part in ("", ".", ".."):
            raise BadKey(f"{key!r} is no key: a part of it is {part!r}, which would lead elsewhere.")
        if part.startswith(RESERVED):
            raise BadKey(f"{key!r} is no key: names that start with {RESERVED!r} are the store's own.")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise BadKey(f"The name {part[:60]!r}… is too long: at most {MAX_NAME_BYTES} bytes are allowed.")
    return key
