"""TIFF files and EXIF blocks share one structure, the image file directory: this reads it, and patches it
in place.

Format: TIFF 6.0, section 2, and its 64-bit extension BigTIFF.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_ENTRIES = 4096
_FARTHEST = 1 << 40  # no image is that large, and operating systems refuse to look at very far places
_MOST_VALUES = 1 << 20  # more strips than any real file has


class DirectoryError(ValueError):
    """The bytes are no image file directory, or it leads outside of them."""


@dataclass(frozen=True)
class Entry:
    """One tag: where its 12 (or 20) bytes begin, and its numbers (none for texts and fractions)."""

    at: int
    tag: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Byte order and word size of a file, and where its first directory begins."""

    order: str
    big: bool
    first: int


def layout(file: BinaryIO) -> Layout:
    """Read the header at the beginning of `file`; DirectoryError when it is none."""
    head = _read(file, 0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise DirectoryError("no byte-order mark")
    version = struct.unpack(order + "H", head[2:4])[0]
    if version == 42:
        return Layout(order, False, struct.unpack(order + "I", head[4:8])[0])
    if version == 43:
        return Layout(order, True, struct.unpack(order + "Q", _read(file, 8, 8))[0])
    raise DirectoryError(f"unknown version {version}")


def entries(file: BinaryIO, shape: Layout, offset: int) -> Iterator[Entry]:
    """The entries of the directory at `offset`; DirectoryError when it or its values lie outside of the
    file."""
    count_code, entry_code = ("Q", "HHQ") if shape.big else ("H", "HHI")
    width, inline = (20, 8) if shape.big else (12, 4)
    size = struct.calcsize("=" + count_code)
    count = struct.unpack(shape.order + count_code, _read(file, offset, size))[0]
    if count > _MOST_ENTRIES:
        raise DirectoryError(f"{count} entries")
    for number in range(count):
        at = offset + size + number * width
        raw = _read(file, at, width)
        tag, kind, length = struct.unpack(shape.order + entry_code, raw[: width - inline])
        yield Entry(at, tag, _values(file, shape, kind, length, raw[width - inline :]))


def next_directory(file: BinaryIO, shape: Layout, offset: int) -> int:
    """Where the directory after the one at `offset` lies; 0 when that was the last one."""
    code, width, word = ("Q", 20, "Q") if shape.big else ("H", 12, "I")
    size = struct.calcsize("=" + code)
    count = struct.unpack(shape.order + code, _read(file, offset, size))[0]
    if count > _MOST_ENTRIES:
        raise DirectoryError(f"{count} entries")
    following: int = struct.unpack(
        shape.order + word, _read(file, offset + size + count * width, struct.calcsize("=" + word))
    )[0]
    return following


def _values(file: BinaryIO, shape: Layout, kind: int, length: int, inline: bytes) -> tuple[int, ...]:
    code = _FORMATS.get(kind)
    if code is None or length > _MOST_VALUES:
        return ()
    size = struct.calcsize("=" + code) * length
    if size <= len(inline):
        raw = inline[:size]
    else:
        raw = _read(file, struct.unpack(shape.order + ("Q" if shape.big else "I"), inline)[0], size)
    return struct.unpack(f"{shape.order}{length}{code}", raw)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    if offset >= _FARTHEST:
        raise DirectoryError(f"nothing at offset {offset}")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise DirectoryError(f"nothing at offset {offset}")
    return data
