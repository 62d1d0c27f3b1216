"""Names as strangers write them: which may name a batch, and which are images, noise, or unfinished files."""

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from infra.arrivals.reasons import ArrivalError, ArrivalReason

READY = "_READY"  # an empty file of this name says that a folder is complete
WISH = "batch.toml"
IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".avif", ".cur", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm"}
    | {".psd", ".qoi", ".sgi"}
)  # by the names of `workers.naming`, which this package does not import; a test holds them together
MAX_BATCH_NAME = 100  # characters

_PUNCTUATION = "._- ()"  # browsers call a second download "photos (1).zip"
_NOISE = frozenset({"__macosx", "thumbs.db", "desktop.ini"})  # what desktops leave in folders and zips
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".temp", ".filepart", "~")


def batch_name(entry: str) -> str:
    """Return the name of the batch that lies in the inbox as `entry`: a zip's name loses its suffix."""
    return entry[:-4] if is_zip_name(entry) else entry


def check_batch_name(name: str) -> str:
    """Return a name that is safe in paths, links and terminals. Raises ArrivalError (BAD_NAME)."""
    wrong = ""
    if not name or name != name.strip():
        wrong = "it is empty, or starts or ends with a space"
    elif name.startswith("."):
        wrong = "it starts with a dot"
    elif len(name) > MAX_BATCH_NAME or len(name.encode(errors="replace")) > 2 * MAX_BATCH_NAME:
        wrong = f"it is longer than {MAX_BATCH_NAME} characters"
    elif bad := [char for char in name if not (_is_letter(char) or char in _PUNCTUATION)]:
        wrong = f"{bad[0]!r} is not allowed in it"
    if wrong:
        raise ArrivalError(
            ArrivalReason.BAD_NAME,
            f"{printable_name(name)!r} cannot be the name of a batch: {wrong}. "
            "Use letters, digits, spaces and . _ - ( ) only, and hand it in again.",
        )
    return name


def printable_name(name: str) -> str:
    """Return a name that can stand for a bad one: readable, allowed, and another for another bad name."""
    kept = "".join(char if _is_letter(char) or char in _PUNCTUATION else "_" for char in name)
    kept = kept.strip().lstrip(".")[: MAX_BATCH_NAME // 3]
    mark = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{kept}_{mark}" if kept else f"unnamed_{mark}"


def is_image_name(name: str) -> bool:
    """Say whether a file of this name counts as an image; what it really is, a machine will find out."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_zip_name(name: str) -> bool:
    """Say whether a file of this name counts as a zip."""
    return name.lower().endswith(".zip") and len(name) > 4


def is_noise(name: str) -> bool:
    """Say whether a relative name is hidden, or left by a desktop; such files are passed over in silence."""
    return any(part.startswith(".") or part.lower() in _NOISE for part in name.split("/"))


def is_unfinished(name: str) -> bool:
    """Say whether a file of this name is still being written by a browser or a copying program."""
    return name.lower().endswith(_UNFINISHED)


def same_file_key(name: str) -> str:
    """Return what two names share when some file system would take them for one: case and accents folded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def unprintable(name: str) -> bool:
    """Say whether a name holds control characters, or is not valid Unicode."""
    return not name.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in name)


def printable(name: str) -> str:
    """Return a name for people to read, with a mark in place of what `unprintable` finds."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unprintable(char) else char for char in name)


def is_unicode(name: str) -> bool:
    """Say whether a name from the file system is valid Unicode; bytes that are not come as surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def has_drive(name: str) -> bool:
    """Say whether a name starts with a drive letter, as on Windows."""
    return re.match(r"[A-Za-z]:", name) is not None


def _is_letter(char: str) -> bool:
    """Letters, their combining marks and digits of any script."""
    return unicodedata.category(char)[0] in "LMN"
