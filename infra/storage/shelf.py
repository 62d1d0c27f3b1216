"""What a machine may do with a store: a few verbs in the words of the standard library.

A machine's code knows no module of ours but its own, so it gets its stores as values of this class and needs no
error type from here: a file that is not there is a FileNotFoundError, any other trouble an OSError, whose `errno`
tells whether it is about one name or about the store.
"""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.storage.store import ABSENT, ANY, AlreadyThere, BadKey, InTheWay, Missing, StorageError, Store


@dataclass(frozen=True)
class Shelf:
    """A store as a machine sees it; small, and it travels as a value."""

    store: Store

    def local_path(self, key: str) -> Path | None:
        """The file itself where it can be read in place, else None: then `download` it."""
        with _plainly():
            return self.store.local_path(key)

    def download(self, key: str, path: Path) -> None:
        """Copy the file to `path`."""
        with _plainly():
            self.store.download(key, path)

    def publish(self, path: Path, key: str, *, replace: bool = False) -> bool:
        """Make the file visible under `key`; False if something was there already, which stays unless `replace`."""
        with _plainly():
            try:
                self.store.upload(path, key, if_version=ANY if replace else ABSENT)
            except AlreadyThere:
                return False
            return True

    def checksum(self, key: str) -> str | None:
        """SHA-256 of the file in hex, None if there is none."""
        with _plainly():
            try:
                place = self.store.local_path(key)
                if place is None:
                    return hashlib.sha256(self.store.read(key)).hexdigest()
                with place.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except (Missing, FileNotFoundError):
                return None

    def read_if_there(self, key: str) -> bytes | None:
        """The content of the file, None if there is none."""
        with _plainly():
            try:
                return self.store.read(key)
            except Missing:
                return None

    def put(self, key: str, data: bytes) -> None:
        """Write the file, replacing what was there."""
        with _plainly():
            self.store.write(key, data)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except Missing as error:
        raise FileNotFoundError(str(error)) from error
    except StorageError as error:
        trouble = OSError(str(error))
        trouble.errno = _errno(error)
        raise trouble from error


def _errno(error: StorageError) -> int | None:
    """What the operating system would call it: its own number, or that of a bad or an occupied name."""
    if isinstance(error.__cause__, OSError):
        return error.__cause__.errno
    if isinstance(error, BadKey):
        return errno.EINVAL
    return errno.EEXIST if isinstance(error, InTheWay) else None
