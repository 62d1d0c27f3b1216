"""Tells an error of the operating system that concerns one image from one that concerns them all.

A name that is too long or a folder in the way is a reject, and the others go on. A full or failing disk, or a store
that cannot be reached, would fail every image after this one: such errors pass, and stop the work.
"""

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from workers.rejects import Rejected, RejectReason

NO_PLACE = {
    errno.ENAMETOOLONG: "the name is too long for this file system; shorten it",
    errno.EINVAL: "the file system does not take this name; rename it",
    errno.EILSEQ: "the file system does not take this name; rename it",
    errno.EISDIR: "a folder is in its place; move the folder away",
    errno.ENOTDIR: "a part of the path is a file and not a folder; move it away",
    errno.EEXIST: "something else is in its place; move it away",
    errno.ENOTEMPTY: "something else is in its place; move it away",
    errno.ELOOP: "its links lead in a circle; put the file itself there",
}
"""What is wrong with a single name, and what to do."""
NO_PERMISSION = dict.fromkeys((errno.EACCES, errno.EPERM), "permission denied; give the user who runs this the right")
MISSING = dict.fromkeys((errno.ENOENT, errno.ENXIO), "there is no such file any more, or none that can be read")
TOO_LARGE = {errno.EFBIG: "the result is larger than a file may be here; choose another folder or format"}
ONE_FILE = NO_PLACE | NO_PERMISSION | MISSING | TOO_LARGE
_REASONS = (
    dict.fromkeys(NO_PLACE, RejectReason.NO_PLACE)
    | dict.fromkeys(NO_PERMISSION, RejectReason.NO_PERMISSION)
    | dict.fromkeys(MISSING, RejectReason.MISSING)
    | dict.fromkeys(TOO_LARGE, RejectReason.RESULT_TOO_LARGE)
)


@contextmanager
def blamed_on_the_image(errnos: Collection[int] = ONE_FILE.keys()) -> Iterator[None]:
    """Raise an OSError with one of these numbers as Rejected; any other passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in errnos:
            raise
        raise rejected(error) from error


def rejected(error: OSError) -> Rejected:
    """The reject that an OSError about one image's file or name amounts to. Raises the error if it is another."""
    if error.errno not in ONE_FILE:
        raise error
    reason = _REASONS[error.errno]
    if error.strerror is None:  # a store has found its own words
        return Rejected(reason, str(error))
    where = f" ({error.filename2 or error.filename})" if error.filename else ""
    return Rejected(reason, f"{ONE_FILE[error.errno]}{where}")
