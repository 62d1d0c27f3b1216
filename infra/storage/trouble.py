"""Turns what the operating system says into a sentence that tells a user what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from infra.storage.store import StorageError

_WHAT_TO_DO = {
    errno.ENOSPC: "the disk is full; make room and try again",
    errno.EDQUOT: "the disk quota is used up; make room and try again",
    errno.EFBIG: "the file is larger than this file system or process may write",
    errno.EACCES: "permission denied; give the user who runs this the right to it",
    errno.EPERM: "permission denied; give the user who runs this the right to it",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENAMETOOLONG: "the name is too long for this file system; shorten it",
    errno.ENOTDIR: "a part of the path is a file and not a folder; move it away",
    errno.EISDIR: "a folder is in the way; move it away",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an error; look at the system log",
}


def sentence(error: OSError, doing: str) -> str:
    """Say what failed, why, and what to do; `doing` reads like "writing 'a.png'"."""
    why = _WHAT_TO_DO.get(error.errno or 0, error.strerror or str(error))
    where = f" ({error.filename})" if error.filename else ""
    return f"Stopped while {doing}: {why}{where}."


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Raise every OSError from inside as a StorageError with a sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(sentence(error, doing)) from error
