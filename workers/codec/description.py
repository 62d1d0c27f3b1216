"""What a TIFF says about its picture (camera, time, author, place) is what an EXIF block says: this turns one into the
other, as libvips does neither.

Formats: TIFF 6.0 and EXIF 2.32, which share the image file directory.
"""

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from workers.codec.directory import SIZES, DirectoryError, Layout, Value, directory_of_page, entries, layout, values

_EXIF, _GPS, _ORIENTATION = 0x8769, 0x8825, 0x0112
_LONG = 4
# Name, description, maker, model, page, software, time, author, computer, copyright, and the same in Windows' words.
_TEXTS = frozenset({269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, *range(40091, 40096)})
_POINTERS = frozenset({_EXIF, _GPS, 0xA005})
_ELEMENTS = SIZES | {5: 4, 10: 4}  # fractions are two numbers


def block_of(file: BinaryIO, page: int) -> bytes | None:
    """An EXIF block with what the directory of a page says about the picture; None if that is nothing."""
    try:
        shape = directory_of_page(file, page)
        own, below = _read(file, shape)
    except DirectoryError:
        return None
    if not own and not below:
        return None
    return _block(shape.order, own, below)


def embed(file: BinaryIO, block: bytes, *, deep: bool) -> None:
    """Add what the EXIF block says to the first directory of the TIFF `file`, which our encoder has written.

    Without `deep` only texts are added, so that nothing in the file leads anywhere but from its directory.
    """
    try:
        source = io.BytesIO(block)
        theirs = layout(source)
        own, below = _read(source, theirs)
    except DirectoryError:
        return
    shape = layout(file)
    known = {entry.tag for entry in entries(file, shape, shape.first)}
    fresh = [_turned(value, theirs, shape) for value in own if value.tag not in known and value.tag != _ORIENTATION]
    for tag, inside in below.items() if deep else ():
        place = _append(file, shape, [_record(file, shape, _turned(value, theirs, shape)) for value in inside])
        fresh.append(Value(tag, _LONG, 1, struct.pack(shape.order + "I", place)))
    if not fresh:
        return
    width = 20 if shape.big else 12
    records = [_slice(file, entry.at, width) for entry in entries(file, shape, shape.first)]
    records += [_record(file, shape, value) for value in fresh]
    first = _append(file, shape, records)
    file.seek(8 if shape.big else 4)
    file.write(struct.pack(shape.order + ("Q" if shape.big else "I"), first))
    file.seek(0, 2)


def _read(file: BinaryIO, shape: Layout) -> tuple[list[Value], dict[int, list[Value]]]:
    """What the first directory says itself, and what the directories say to which it points."""
    own = values(file, shape, shape.first, _TEXTS | {_ORIENTATION})
    below: dict[int, list[Value]] = {}
    for entry in list(entries(file, shape, shape.first)):
        if entry.tag in (_EXIF, _GPS) and entry.values:
            try:
                inside = values(file, shape, entry.values[0])
            except DirectoryError:
                continue
            below[entry.tag] = [value for value in inside if value.tag not in _POINTERS]
    return own, {tag: inside for tag, inside in below.items() if inside}


def _block(order: str, own: Sequence[Value], below: dict[int, list[Value]]) -> bytes:
    file, shape = io.BytesIO(), Layout(order, False, 8)
    file.write((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 0))
    found = list(own)
    for tag, inside in below.items():
        place = _append(file, shape, [_record(file, shape, value) for value in inside])
        found.append(Value(tag, _LONG, 1, struct.pack(order + "I", place)))
    first = _append(file, shape, [_record(file, shape, value) for value in found])
    file.seek(4)
    file.write(struct.pack(order + "I", first))
    return file.getvalue()


def _record(file: BinaryIO, shape: Layout, value: Value) -> bytes:
    """The entry of a value in a directory; what does not fit into it is appended to the file."""
    word, inline = ("Q", 8) if shape.big else ("I", 4)
    data = value.data
    if len(data) > inline:
        data = struct.pack(shape.order + word, _at_end(file, data))
    return struct.pack(f"{shape.order}HH{word}", value.tag, value.kind, value.count) + data.ljust(inline, b"\0")


def _append(file: BinaryIO, shape: Layout, records: Iterable[bytes]) -> int:
    """Append a directory that no other follows; returns its place."""
    count, word = ("Q", "Q") if shape.big else ("H", "I")
    ordered = sorted(records, key=lambda record: struct.unpack(shape.order + "H", record[:2]))
    return _at_end(
        file, struct.pack(shape.order + count, len(ordered)) + b"".join(ordered) + struct.pack(shape.order + word, 0)
    )


def _at_end(file: BinaryIO, data: bytes) -> int:
    end = file.seek(0, 2)
    file.write(bytes(-end % 8) + data)
    return end + -end % 8


def _slice(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _turned(value: Value, theirs: Layout, ours: Layout) -> Value:
    """The value in our byte order."""
    size = _ELEMENTS[value.kind]
    if theirs.order == ours.order or size == 1:
        return value
    return replace(value, data=np.frombuffer(value.data, f"u{size}").byteswap().tobytes())
