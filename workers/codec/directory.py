"""TIFF files and EXIF blocks share one structure, the image file directory: this reads it, and patches it
in place.

Format: TIFF 6.0, section 2, and its 64-bit extension BigTIFF.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

_FORMATS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_ENTRIES = 4096
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of one number or letter of each type that a classic TIFF knows."""
_LARGEST_VALUE = 1 << 20
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


@dataclass(frozen=True)
class Value:
    """One tag with the bytes of its value, in the file's own byte order."""

    tag: int
    kind: int  # TIFF's number for the type of the numbers or letters
    count: int
    data: bytes


def values(file: BinaryIO, shape: Layout, offset: int, wanted: Collection[int] | None = None) -> list[Value]:
    """The tags of the directory at `offset`, all or those wanted; without what is of an unknown type or huge."""
    word, inline = ("Q", 8) if shape.big else ("I", 4)
    found = []
    for entry in entries(file, shape, offset):
        if wanted is not None and entry.tag not in wanted:
            continue
        raw = _read(file, entry.at, 4 + 2 * inline)
        kind, count = struct.unpack(f"{shape.order}H{word}", raw[2 : 4 + inline])
        size = count * SIZES.get(kind, 0)
        if 0 < size <= inline:
            found.append(Value(entry.tag, kind, count, raw[4 + inline : 4 + inline + size]))
        elif inline < size <= _LARGEST_VALUE:
            place = struct.unpack(shape.order + word, raw[4 + inline :])[0]
            found.append(Value(entry.tag, kind, count, _read(file, place, size)))
    return found


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


def directory_of_page(file: BinaryIO, page: int) -> Layout:
    """The layout of a TIFF, with the directory of this page as the first."""
    shape = layout(file)
    for _ in range(page):
        shape = replace(shape, first=next_directory(file, shape, shape.first))
    return shape


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
