"""A store in a local folder, safe for many processes at once, that survives being killed at any point.

A write goes to a hidden temporary file and is renamed to its key, under a file lock that orders the writers
of one key; the kernel gives the lock back when its holder dies. A writer killed before the rename leaves only
its temporary file, which `list` never shows and `sweep` removes. The file system must lock, rename atomically
and keep times to the nanosecond: ext4, xfs, btrfs, tmpfs and NFS 4 do.
"""

import fcntl
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import time_ns
from typing import BinaryIO
from uuid import uuid4

from infra.storage.places import as_stat, check_free, find, find_or_raise, is_key, missing
from infra.storage.store import (
    ABSENT,
    ANY,
    RESERVED,
    AlreadyThere,
    BadKey,
    Changed,
    If,
    Missing,
    Stat,
    check_key,
)
from infra.storage.trouble import in_words

_OWN_FOLDER = f"{RESERVED}store"
_LOCKS = 64  # keys share this many lock files, so that none is left behind per key
_CHUNK = 1 << 20  # bytes copied at a time


@dataclass(frozen=True)
class LocalStore:
    """The files below `root`, which the first write makes. See `Store` for what each method promises.

    Links below the root are never followed: a key that passes through one names no file, and cannot be
    written. A file system holds either a file `a` or a file `a/b`, where a bucket can hold both.
    """

    root: Path

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the files whose key starts with `prefix`, sorted by key, as a bucket sorts them."""
        if prefix.startswith("/"):
            raise BadKey(f"{prefix!r} is no prefix: give the start of a key, or nothing.")
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(f"{folder}/x")
        yield from self._walk(folder and f"{folder}/", prefix)

    def stat(self, key: str) -> Stat | None:
        """Return the current version of a file, or None; a folder is no file."""
        return find(self.root, key)

    def read(self, key: str) -> bytes:
        """Return the content of a file. Raises Missing."""
        with self._open(key) as file, in_words(f"reading {key!r}"):
            return file.read()

    def write(self, key: str, data: bytes, *, if_version: If = ANY) -> Stat:
        """Write a file as a whole. Raises AlreadyThere or Changed."""
        self._check(key, if_version)
        with self._temporary(key) as (temporary, file):
            file.write(data)
            return self._publish(temporary, file, key, if_version)

    def download(self, key: str, path: Path) -> Stat:
        """Copy a file to a local path, there too as a whole. Raises Missing."""
        temporary = path.parent / f"{RESERVED}{uuid4().hex}"
        with self._open(key) as source, in_words(f"copying {key!r} to {path}"):
            try:
                with temporary.open("xb") as target:
                    shutil.copyfileobj(source, target, _CHUNK)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            return as_stat(key, os.fstat(source.fileno()))

    def upload(self, path: Path, key: str, *, if_version: If = ANY) -> Stat:
        """Copy a local file into the store. Raises AlreadyThere or Changed, and Missing without the file."""
        with in_words(f"reading {path}"):
            try:
                source = path.open("rb")
            except FileNotFoundError:
                raise Missing(f"There is no file {path} to store as {key!r}.") from None
        with source:
            return self._take(source, key, if_version)

    def copy(self, source: str, target: str, *, if_version: If = ANY) -> Stat:
        """Copy a file inside the store; `if_version` is about the target. Raises Missing for the source."""
        with self._open(source) as file:
            return self._take(file, target, if_version)

    def delete(self, key: str, *, if_version: If = ANY) -> None:
        """Delete a file; one that is gone already is no error, unless a version was expected (Changed)."""
        if find(self.root, key) is None and if_version is ANY:
            return
        with self._locked(key), in_words(f"deleting {key!r}"):
            if self._check(key, if_version):
                (self.root / key).unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        """Return the file's own path, for reading. Raises Missing."""
        find_or_raise(self.root, key)
        return self.root / key

    def sweep(self, now: datetime, older_than: timedelta = timedelta(days=1)) -> int:
        """Remove what writers left that were killed before their rename; return how many files.

        Meant for the watcher, once per shift. A write that lasts longer than `older_than` would lose its
        temporary file and fail, so leave it at hours.
        """
        limit = (now - older_than).timestamp()
        swept = 0
        for leftover in (self.root / _OWN_FOLDER).glob("tmp-*"):
            with in_words(f"sweeping {leftover}"):
                try:
                    if leftover.lstat().st_mtime < limit:
                        leftover.unlink()
                        swept += 1
                except FileNotFoundError:
                    continue  # its writer is alive and has just published it
        return swept

    def _walk(self, above: str, prefix: str) -> Iterator[Stat]:
        folder = self.root / above
        with in_words(f"listing {folder}"):
            try:
                entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in os.scandir(folder)]
            except (FileNotFoundError, NotADirectoryError):
                return  # nothing was written yet, or it was deleted meanwhile
        # With its slash, a folder sorts where the keys in it belong: "a-b" < "a/b" < "ab".
        for name in sorted(f"{name}/" if is_folder else name for name, is_folder in entries):
            key = above + name
            if not (key.startswith(prefix) or prefix.startswith(key)) or not is_key(key.rstrip("/")):
                continue
            if name.endswith("/"):
                yield from self._walk(key, prefix)
            elif found := find(self.root, key):
                yield found

    def _open(self, key: str) -> BinaryIO:
        find_or_raise(self.root, key)
        with in_words(f"opening {key!r}"):
            try:
                return (self.root / key).open("rb")
            except FileNotFoundError:
                raise missing(key) from None

    def _take(self, source: BinaryIO, key: str, if_version: If) -> Stat:
        self._check(key, if_version)
        with self._temporary(key) as (temporary, file):
            shutil.copyfileobj(source, file, _CHUNK)
            return self._publish(temporary, file, key, if_version)

    @contextmanager
    def _temporary(self, key: str) -> Iterator[tuple[Path, BinaryIO]]:
        temporary = self._own_folder(key) / f"tmp-{uuid4().hex}"
        with in_words(f"writing {key!r}"):
            try:
                with temporary.open("xb") as file:
                    yield temporary, file
            finally:
                temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path, file: BinaryIO, key: str, if_version: If) -> Stat:
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave an empty file under the key
        place = self.root / key
        with self._locked(key):
            before = self._check(key, if_version)
            place.parent.mkdir(parents=True, exist_ok=True)
            _stamp(file, before)
            temporary.replace(place)
            return as_stat(key, os.fstat(file.fileno()))

    def _check(self, key: str, if_version: If) -> Stat | None:
        """Return what is under the key if a write may go ahead.

        Asked once before the copying, to spare it, and once under the lock, where the answer counts.
        """
        check_free(self.root, key)
        found = find(self.root, key)
        if if_version is ABSENT and found:
            raise AlreadyThere(f"{key!r} is there already, and was to be written only if it was not.")
        if isinstance(if_version, str) and (found is None or found.version != if_version):
            raise Changed(f"{key!r} has changed since it was looked at; read it again and decide anew.")
        return found

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        lock = self._own_folder(key) / f"lock-{zlib.crc32(key.encode()) % _LOCKS:02d}"
        with in_words(f"locking {key!r}"):
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def _own_folder(self, key: str) -> Path:
        folder = self.root / _OWN_FOLDER
        with in_words(f"writing {key!r}"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


def _stamp(file: BinaryIO, before: Stat | None) -> None:
    """Give the file a time of its own, later than that of the version before.

    The kernel's own stamps are milliseconds coarse and inode numbers are used again, so two versions written
    in quick succession could look the same; a time that only grows cannot.
    """
    last = int(before.version.partition("-")[0], 16) if before else 0
    now = max(time_ns(), last + 1)
    os.utime(file.fileno(), ns=(now, now))
