"""Finds a zip's end without reading its list of files, which a stranger may have made gigabytes long.

The layout is that of PKWARE's APPNOTE 6.3.10, sections 4.3.14 to 4.3.16.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LONGEST_COMMENT = 0xFFFF
_SEE_ZIP64 = 0xFFFFFFFF
_COUNT_SEE_ZIP64 = 0xFFFF


@dataclass(frozen=True)
class ZipEnd:
    """What the last record of a zip says."""

    entries: int
    directory_bytes: int  # length of the central directory


def find_end(file: BinaryIO) -> ZipEnd | None:
    """Return what the end of a zip says, or None when the file does not end like a zip."""
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return None
    _, _, _, _, entries, directory_bytes, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment > len(tail):
        return None
    end = ZipEnd(entries, directory_bytes)
    if entries == _COUNT_SEE_ZIP64 or _SEE_ZIP64 in (directory_bytes, offset):
        end = _find_end_64(file, tail_start + at) or end
    return end if end.directory_bytes <= size else None


def _find_end_64(file: BinaryIO, end_at: int) -> ZipEnd | None:
    if end_at < _END_64_LOCATOR.size:
        return None
    file.seek(end_at - _END_64_LOCATOR.size)
    signature, _, at, _ = _END_64_LOCATOR.unpack(file.read(_END_64_LOCATOR.size))
    if signature != b"PK\x06\x07":
        return None
    file.seek(min(at, end_at))
    record = file.read(_END_64.size)
    if len(record) < _END_64.size or not record.startswith(b"PK\x06\x06"):
        return None
    fields = _END_64.unpack(record)
    return ZipEnd(entries=fields[7], directory_bytes=fields[8])
