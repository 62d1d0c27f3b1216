"""Puts a person's folder, zip or image into the inbox such that no watcher ever sees half of it."""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

from infra.arrivals.contents import find_wish, survey
from infra.arrivals.names import (
    MAX_BATCH_NAME,
    READY,
    WISH,
    batch_name,
    check_batch_name,
    is_image_name,
    is_noise,
    is_zip_name,
)
from infra.arrivals.reasons import ArrivalError, ArrivalReason
from infra.arrivals.sweeping import INCOMING
from infra.arrivals.unpack import inspect, unpack
from infra.arrivals.walk import walk
from infra.arrivals.wish import Wish, read_wish, write_wish
from infra.storage.trouble import in_words


def hand_in(source: Path, inbox: Path, name: str | None, wish: Wish | None, taken: Callable[[str], bool]) -> str:
    """Copy a folder, a zip or a single image into the inbox as one batch, and return the batch's name.

    `name` is the wished name (None: that of the source); a number is added if it is in the inbox or `taken`
    says that the ledger knows it. `wish` takes the place of a batch.toml in the source; a zip is then handed
    in as a folder. The source stays as it is; links in it are copied as links, never followed.

    Raises ArrivalError for what could be no batch, before anything is copied, and StorageError.
    """
    source = source.expanduser().absolute()
    wanted = check_batch_name(name if name is not None else _own_name(source))
    with in_words(f"handing in {source}"):
        _check_source(source, inbox, wish)
        incoming = inbox / f"{INCOMING}{uuid4().hex}"
        incoming.mkdir(parents=True)
        try:
            prepared = _prepare(source, incoming / "batch", wish)
            return _enter(prepared, inbox, wanted, taken)
        finally:
            shutil.rmtree(incoming, ignore_errors=True)


def _own_name(source: Path) -> str:
    if source.is_dir():
        return source.resolve().name
    return batch_name(source.name) if is_zip_name(source.name) else source.stem


def _check_source(source: Path, inbox: Path, wish: Wish | None) -> None:
    """Refuse early what the watcher would refuse later."""
    here, there = source.resolve(), inbox.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        message = f"{source} lies in the inbox or holds it; the inbox is watched already. Choose another folder."
        raise ArrivalError(ArrivalReason.UNREADABLE, message)
    if source.is_dir():
        survey(source)
        if wish is None:
            read_wish(*find_wish(source))
    elif not source.is_file():
        raise ArrivalError(ArrivalReason.UNREADABLE, f"There is no folder, zip or image {source}.")
    elif is_zip_name(source.name):
        if not any(is_image_name(inside) for inside in inspect(source)):
            raise ArrivalError(ArrivalReason.EMPTY, f"There is no image in {source.name!r}.")
    elif not is_image_name(source.name):
        message = f"{source.name!r} is no folder, no zip and no image; its name must end in zip, png, jpg …"
        raise ArrivalError(ArrivalReason.EMPTY, message)


def _prepare(source: Path, target: Path, wish: Wish | None) -> Path:
    """Copy the source to `target`, complete as a batch; return what is to be renamed into the inbox."""
    if source.is_dir():
        _copy_folder(source, target)
    elif not is_zip_name(source.name):
        target.mkdir()
        shutil.copyfile(source, target / source.name)
    elif wish is None:
        return Path(shutil.copyfile(source, target.with_suffix(".zip")))
    else:
        unpack(source, target)
    if wish is not None:
        (target / WISH).write_bytes(write_wish(wish))
    (target / READY).touch()
    return target


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for name, info in walk(source):
        if is_noise(name) or name == READY or stat.S_ISDIR(info.st_mode):
            continue
        if stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name, follow_symlinks=False)


def _enter(prepared: Path, inbox: Path, wanted: str, taken: Callable[[str], bool]) -> str:
    """Give the prepared batch the first free name, one hand-in at a time: a folder and a zip share names."""
    with _locked(inbox):
        there = {batch_name(entry.name) for entry in inbox.iterdir()}
        endings = (f"-{number}" if number > 1 else "" for number in count(1))
        names = (wanted[: MAX_BATCH_NAME - len(ending)] + ending for ending in endings)
        name = next(name for name in names if name not in there and not taken(name))
        if prepared.is_dir():
            prepared.rename(inbox / name)  # fails on a folder with something in it
        else:
            os.link(prepared, inbox / f"{name}.zip")  # fails on anything; `prepared` goes with its folder
        return name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
