"""Tells from a file's header how strongly JPEG has compressed it; nothing is decoded.

A JPEG file carries its quantisation tables: the steps to which the encoder rounded each frequency. Most encoders take
the example tables of ITU-T T.81 (Annex K.1) times a factor that libjpeg names "quality" 1 to 100. Cameras and Photoshop
have tables of their own, so theirs are compared entry by entry, and the median says which quality comes closest.

TIFF files that hold JPEG count too. Lossy WebP and AVIF do not: they blur and ring in other ways than JPEG.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

Table = tuple[int, ...]
"""64 steps in the zigzag order of the file, from the mean to the finest diagonal."""

# fmt: off
LUMA: Table = (
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51,
    61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77,
    113, 121, 112, 100, 120, 92, 101, 103, 99,
)
CHROMA: Table = (17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, *(99,) * 50)
# fmt: on
"""The example tables of T.81, K.1 and K.2, at libjpeg's quality 50."""

_MOST_SEGMENTS = 2_000
"""Before the first scan. A profile or a thumbnail takes a few, the largest metadata some hundreds."""
_LARGEST_STEP = 255
"""Of a table of bytes: what would be larger was cut off, so it says little."""

_SOI, _EOI, _SOS, _DQT = 0xD8, 0xD9, 0xDA, 0xDB
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC9, 0xCA, 0xCD, 0xCE}
"""Start of a frame that is coded by cosines; the others are lossless and have no steps."""
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}

_TIFF_COMPRESSION, _TIFF_STRIPS, _TIFF_TILES, _TIFF_TABLES = 259, 273, 324, 347
_TIFF_JPEG = 7
_MOST_ENTRIES = 4_096


class _Broken(Exception):
    """The header ends early or contradicts itself; reading the image will say so."""


def quality_of(image: Path) -> int | None:
    """The quality, 1 to 100, that libjpeg would call it by; None for what JPEG has not compressed or cannot be read.

    Raises OSError for what is no fault of the file, such as a disk that fails.
    """
    try:
        with image.open("rb") as file:
            return quality_in(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
        return None  # whoever decodes it says so


def quality_in(file: BinaryIO) -> int | None:
    """The same for an open file, whose first byte is the image's first."""
    try:
        head = file.read(4)
        if head[:3] == b"\xff\xd8\xff":
            file.seek(0)
            return _quality(_header(file))
        if head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _quality_in_tiff(file, head)
    except (_Broken, struct.error, OverflowError):
        pass
    return None


@dataclass
class _Header:
    """What a JPEG stream says before its first scan."""

    tables: dict[int, Table] = field(default_factory=dict)
    components: tuple[int, ...] = ()
    """For each component (luma first) the number of its table; empty while no frame has begun."""
    lossless: bool = False


def _quality(header: _Header) -> int | None:
    """Luma counts twice: it holds what eyes see. A second table, of colours, counts once."""
    if header.lossless:
        return None
    first, *others = header.components or sorted(header.tables)[:2]
    if first not in header.tables:
        return None
    luma = _nearest(header.tables[first], LUMA)
    colours = [number for number in others if number != first and number in header.tables]
    if not colours:
        return round(luma)
    return round((2 * luma + _nearest(header.tables[colours[0]], CHROMA)) / 3)


def _nearest(table: Table, standard: Table) -> float:
    """The quality whose table comes closest: libjpeg's formula backwards, from the middle factor over the entries.

    An entry counts the more, the finer its usual step, for those frequencies pictures have most of: Photoshop, say,
    spares the others at any quality. A step of 1, the smallest there is, says only that the factor was not larger.
    """
    silent = {1, _LARGEST_STEP} if max(table) == _LARGEST_STEP else {1}
    pairs = zip(table, standard, strict=True)
    telling = [(100 * step / usual, 1 / usual) for step, usual in pairs if step not in silent]
    nothing_told = 0.0 if max(table) == 1 else 100 * _LARGEST_STEP / min(standard)
    percent = _middle(telling) if telling else nothing_told
    quality = 5_000 / percent if percent > 100 else (200 - percent) / 2
    return min(100.0, max(1.0, quality))


def _middle(weighted: Sequence[tuple[float, float]]) -> float:
    """The median of values with weights."""
    half, below = sum(weight for _, weight in weighted) / 2, 0.0
    for value, weight in sorted(weighted):
        below += weight
        if below >= half:
            return value
    raise ValueError("there is no value")


def _header(file: BinaryIO) -> _Header:
    """Read the segments up to the first scan, or to the end of a stream that holds tables only."""
    header = _Header()
    for marker, length in _segments(file):
        if marker == _DQT:
            header.tables |= _tables(_exactly(file, length))
        elif marker in _FRAMES and not header.components:
            header.components = _components(_exactly(file, length))
        elif marker in _LOSSLESS:
            header.lossless = True
        else:
            file.seek(length, 1)
    return header


def _segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and length of each segment; whoever takes one reads or passes over so many bytes."""
    if _exactly(file, 2) != bytes((0xFF, _SOI)):
        raise _Broken
    for _ in range(_MOST_SEGMENTS):
        if _exactly(file, 1) != b"\xff":
            raise _Broken
        while (code := _exactly(file, 1)) == b"\xff":  # any number of them may fill the space before a marker
            pass
        if code[0] in (_SOS, _EOI):
            return
        if code[0] in (0x00, 0x01) or 0xD0 <= code[0] <= 0xD7:
            raise _Broken
        (length,) = struct.unpack(">H", _exactly(file, 2))
        if length < 2:
            raise _Broken
        yield code[0], length - 2
    raise _Broken


def _tables(content: bytes) -> Mapping[int, Table]:
    """The tables of one segment by their numbers: 64 steps each, of one byte or of two."""
    tables: dict[int, Table] = {}
    at = 0
    while at < len(content):
        kind, number = content[at] >> 4, content[at] & 15
        if kind > 1 or number > 3:
            raise _Broken
        tables[number] = struct.unpack_from(">64H" if kind else ">64B", content, at + 1)
        if 0 in tables[number]:
            raise _Broken
        at += 1 + 64 * (kind + 1)
    return tables


def _components(content: bytes) -> tuple[int, ...]:
    """The table of each component in a frame's header: precision, height, width, and three bytes for each."""
    count = content[5] if len(content) > 5 else 0
    if not count or len(content) < 6 + 3 * count:
        raise _Broken
    return tuple(content[8 + 3 * place] for place in range(count))


def _quality_in_tiff(file: BinaryIO, head: bytes) -> int | None:
    """Of the first page. Its tables lie in a field of their own, else in the first strip or tile."""
    page = _first_page(file, head)
    if page.get(_TIFF_COMPRESSION, (0, b""))[0] != _TIFF_JPEG:
        return None
    header = _Header()
    if _TIFF_TABLES in page:
        header = _header(BytesIO(page[_TIFF_TABLES][1]))
    place = page.get(_TIFF_TILES) or page.get(_TIFF_STRIPS)
    if place is not None:
        file.seek(place[0])
        own = _header(file)
        header = _Header(header.tables | own.tables, own.components, own.lossless)
    return _quality(header)


def _first_page(file: BinaryIO, head: bytes) -> Mapping[int, tuple[int, bytes]]:
    """The first number, and the bytes if it is a row of bytes, of the fields of the first page; of BigTIFF as well."""
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head
    if big:
        file.seek(8)
    word, size = ("Q", 8) if big else ("I", 4)
    (start,) = struct.unpack(order + word, _exactly(file, size))
    file.seek(start)
    (count,) = struct.unpack(order + ("Q" if big else "H"), _exactly(file, 8 if big else 2))
    if count > _MOST_ENTRIES:
        raise _Broken
    entry = struct.Struct(f"{order}HH{word}{size}s")
    content = _exactly(file, entry.size * count)
    return {tag: _value(file, order, *rest) for tag, *rest in entry.iter_unpack(content) if tag in _WANTED}


_WANTED = {_TIFF_COMPRESSION, _TIFF_STRIPS, _TIFF_TILES, _TIFF_TABLES}
_BYTES, _SHORT, _LONG, _UNDEFINED, _LONG8, _IFD8 = 1, 3, 4, 7, 16, 18
_FORMATS = {_SHORT: "H", _LONG: "I", _LONG8: "Q", _IFD8: "Q"}
_MOST_BYTES = 65_536


def _value(file: BinaryIO, order: str, kind: int, count: int, inline: bytes) -> tuple[int, bytes]:
    """The first number of a field, or its bytes; they lie in the entry itself if they fit."""
    each = 1 if kind in (_BYTES, _UNDEFINED) else struct.calcsize("=" + _FORMATS.get(kind, ""))
    if not each or not count:
        raise _Broken
    if each == 1 and count > _MOST_BYTES:
        raise _Broken
    data = inline
    if each * count > len(inline):
        file.seek(struct.unpack(order + ("Q" if len(inline) == 8 else "I"), inline)[0])
        data = _exactly(file, count if each == 1 else each)
    if each == 1:
        return 0, data[:count]
    return struct.unpack(order + _FORMATS[kind], data[:each])[0], b""


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _Broken
    return data
