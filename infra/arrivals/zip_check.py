"""Decides from a zip's list of contents whether it may be unpacked, before a single byte is.

Pure but for the reading of the list: every rule looks at names, sizes and flags only. Sizes in that list can
lie, so unpacking counts again.
"""

import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from infra.arrivals.names import has_drive, is_noise, same_file_key, unprintable
from infra.arrivals.reasons import ArrivalError, ArrivalReason
from infra.storage.store import MAX_KEY_BYTES, MAX_NAME_BYTES

_UTF8_FLAG = 0x800
_SECRET_FLAGS = 0x1 | 0x40 | 0x2000  # encrypted, strongly encrypted, encrypted list of contents
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_METHOD_NAMES = {9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "zstandard", 95: "xz", 98: "PPMd"}
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class UnpackLimits:
    """What a batch of images can reasonably be; beyond it a zip is taken for a bomb."""

    files: int = 100_000
    bytes: int = 100 * 10**9
    ratio: int = 200  # unpacked bytes per packed byte; flat drawings saved as BMP reach 100
    small: int = 500 * 10**6  # bytes; the ratio of anything smaller does no harm


@dataclass(frozen=True)
class Entry:
    """One file to unpack."""

    name: str  # relative, safe, as people see it
    is_folder: bool
    info: zipfile.ZipInfo


def check_entries(infos: Sequence[zipfile.ZipInfo], zip_name: str, limits: UnpackLimits) -> list[Entry]:
    """Return the files worth unpacking, without folders and without what desktops leave behind.

    Raises ArrivalError when the zip is not what an honest program packs out of honest files.
    """
    _check_size(infos, zip_name, limits)
    entries = [_checked_entry(info, zip_name) for info in infos]
    for entry in entries:
        _check_kind(entry, zip_name)
    _check_overlap(infos, zip_name)
    files = [entry for entry in entries if not entry.is_folder and not is_noise(entry.name)]
    _check_distinct(files, zip_name)
    return files


def readable_name(info: zipfile.ZipInfo) -> str:
    """Return the name as its author saw it.

    Some programs (those of macOS among them) write UTF-8 without saying so, and zipfile then reads it as
    code page 437. Text in another code page is hardly ever valid UTF-8, so that is tried first.
    """
    name = info.orig_filename
    if info.flag_bits & _UTF8_FLAG:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name


def _check_size(infos: Sequence[zipfile.ZipInfo], zip_name: str, limits: UnpackLimits) -> None:
    unpacked = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if len(infos) > limits.files:
        _refuse_size(zip_name, f"it holds {len(infos):,} files, {limits.files:,} are allowed")
    if unpacked > limits.bytes:
        _refuse_size(zip_name, f"it would unpack to {unpacked / 1e9:,.1f} GB, {limits.bytes / 1e9:,.1f} are allowed")
    if unpacked > limits.small and unpacked > limits.ratio * packed:
        _refuse_size(zip_name, f"its {packed:,} bytes would become {unpacked:,}, which no real images do")


def _refuse_size(zip_name: str, why: str) -> NoReturn:
    raise ArrivalError(
        ArrivalReason.TOO_LARGE,
        f"{zip_name!r} is not unpacked: {why}. Split it, or hand in the folder itself.",
    )


def _checked_entry(info: zipfile.ZipInfo, zip_name: str) -> Entry:
    name = readable_name(info)
    parts = name.removesuffix("/").split("/")
    wrong = ""
    if unprintable(name):
        wrong = "it holds control characters or is not Unicode"
    elif "\\" in name:
        wrong = "it holds a backslash"
    elif has_drive(name):
        wrong = "it starts with a drive letter"
    elif any(part in ("", ".", "..") for part in parts):
        wrong = "it leads out of the batch"
    elif len(name.encode()) > MAX_KEY_BYTES or max(len(part.encode()) for part in parts) > MAX_NAME_BYTES:
        wrong = "it is too long"
    if wrong:
        shown = name if len(name) <= 80 else name[:80] + "…"
        raise ArrivalError(
            ArrivalReason.UNSAFE_NAME,
            f"{zip_name!r} is not unpacked because of the name {shown!r} in it: {wrong}. "
            "Zip the folder again with your system's own program.",
        )
    return Entry(name.removesuffix("/"), name.endswith("/"), info)


def _check_kind(entry: Entry, zip_name: str) -> None:
    kind = stat.S_IFMT(entry.info.external_attr >> 16)
    if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise ArrivalError(
            ArrivalReason.LINK,
            f"{zip_name!r} is not unpacked: {entry.name!r} in it is a link or a device, not a file. "
            "Zip the files themselves.",
        )
    if entry.info.flag_bits & _SECRET_FLAGS:
        raise ArrivalError(
            ArrivalReason.ENCRYPTED,
            f"{zip_name!r} asks for a password ({entry.name!r} is encrypted). Zip it again without one.",
        )
    if entry.info.compress_type not in _METHODS:
        method = _METHOD_NAMES.get(entry.info.compress_type, f"method {entry.info.compress_type}")
        raise ArrivalError(
            ArrivalReason.UNSUPPORTED,
            f"{zip_name!r} is packed with {method}; only plain deflate is unpacked here. Zip it again.",
        )


def _check_overlap(infos: Sequence[zipfile.ZipInfo], zip_name: str) -> None:
    """Refuse files that share bytes of the zip: only bombs do that."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            _refuse_size(zip_name, f"{readable_name(info)!r} in it overlaps another file")
        end = info.header_offset + _LOCAL_HEADER_BYTES + len(info.orig_filename) + info.compress_size


def _check_distinct(files: Sequence[Entry], zip_name: str) -> None:
    seen: dict[str, str] = {}
    for entry in files:
        other = seen.setdefault(same_file_key(entry.name), entry.name)
        if other is not entry.name:
            _refuse_pair(zip_name, entry.name, other)
    for entry in files:
        parts = same_file_key(entry.name).split("/")
        for depth in range(1, len(parts)):
            if other := seen.get("/".join(parts[:depth]), ""):
                _refuse_pair(zip_name, entry.name, other)


def _refuse_pair(zip_name: str, name: str, other: str) -> NoReturn:
    raise ArrivalError(
        ArrivalReason.DUPLICATE,
        f"{zip_name!r} is not unpacked: {other!r} and {name!r} in it would have the same place on some "
        "computers. Rename one and zip again.",
    )
