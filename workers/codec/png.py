"""A PNG's chunks: what decoders drop or repair in silence (checksums, gamma, texts) is checked and kept here, and
pixels are packed by a quicker deflate than libvips has.

Format: PNG specification, third edition, sections 5, 9 and 11.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyvips
from isal import isal_zlib

from workers.rejects import Rejected, RejectReason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that stay true when the picture is enlarged; the others (palette, histogram, significant bits…) do
# not.
KEPT = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"pHYs": 9, b"tIME": 7}
_MANY = {b"tEXt", b"zTXt", b"iTXt"}  # of all others there is one at most
_LARGEST_KEPT = 16 << 20
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_PIECE = 1 << 20
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by bands
_AVERAGE = 3
_LEVEL = 2  # of 0 to 3; measured, see docs/images.md


@dataclass(frozen=True)
class Outline:
    """The size in the header, the chunks worth keeping as (kind, data), and whether more frames follow."""

    width: int
    height: int
    kept: tuple[tuple[bytes, bytes], ...]
    animated: bool


def outline(path: Path) -> Outline:
    """Walk over all chunks of a PNG and check each one's checksum.

    Raises Rejected: TRUNCATED when the file ends before its last chunk, ZERO_SIZE, or DAMAGED.
    """
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        kinds: list[bytes] = []
        kept: list[tuple[bytes, bytes]] = []
        while not kinds or kinds[-1] != b"IEND":
            kind, data = _chunk(file, path.name)
            if bool(kinds) == (kind == b"IHDR"):
                raise Rejected(RejectReason.DAMAGED, f"{path.name} is damaged: its PNG header is not where it belongs.")
            if kind == b"IHDR":
                width, height = _header(data, path.name)
            kinds.append(kind)
            if _is_sound(kind, data) and (kind in _MANY or all(kind != other for other, _ in kept)):
                kept.append((kind, data))
    if b"IDAT" not in kinds:
        raise Rejected(RejectReason.DAMAGED, f"{path.name} is damaged: the PNG has a header but no picture.")
    return Outline(width, height, tuple(kept), b"acTL" in kinds)


def _is_sound(kind: bytes, data: bytes) -> bool:
    """Whether a chunk is worth keeping: one that decoders stumble over would spoil the result."""
    if kind in _LENGTHS:
        return len(data) == _LENGTHS[kind]
    if kind == b"eXIf":
        return data[:4] in (b"II*\0", b"MM\0*")
    if kind not in KEPT:
        return False
    keyword, nought, rest = data.partition(b"\0")
    if not (1 <= len(keyword) <= 79 and nought):
        return False
    if kind in (b"iCCP", b"zTXt"):
        return rest[:1] == b"\0" and _unpacks(rest[1:])
    if kind == b"iTXt":
        packed = rest[:2] == b"\1\0"
        texts = rest[2:].split(b"\0", 2)
        return rest[:1] in (b"\0", b"\1") and len(texts) == 3 and (not packed or _unpacks(texts[2]))
    return True


def _unpacks(packed: bytes) -> bool:
    try:
        whole = zlib.decompressobj()
        whole.decompress(packed, _LARGEST_KEPT)
    except zlib.error:
        return False
    return whole.eof


def _chunk(file: BinaryIO, name: str) -> tuple[bytes, bytes]:
    """The next chunk's kind and, if it is small and worth keeping, its data."""
    head = file.read(8)
    if len(head) < 8:
        raise Rejected(RejectReason.TRUNCATED, f"{name} is cut off: the PNG ends before its picture does.")
    length, kind = struct.unpack(">I4s", head)
    checksum = zlib.crc32(kind)
    keep = kind == b"IHDR" or (kind in KEPT and length <= _LARGEST_KEPT)
    data, left = b"", length
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise Rejected(RejectReason.TRUNCATED, f"{name} is cut off: the PNG ends before its picture does.")
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
        if keep:
            data += piece
    stated = file.read(4)
    if len(stated) < 4:
        raise Rejected(RejectReason.TRUNCATED, f"{name} is cut off: the PNG ends before its picture does.")
    if stated != struct.pack(">I", checksum):
        part = kind.decode("ascii", "replace")
        raise Rejected(RejectReason.DAMAGED, f"{name} is damaged: the checksum of its PNG part {part} is wrong.")
    return kind, data


def _header(data: bytes, name: str) -> tuple[int, int]:
    if len(data) != 13:
        raise Rejected(RejectReason.DAMAGED, f"{name} is damaged: its PNG header has {len(data)} bytes instead of 13.")
    width, height, depth, colour, compression, filtering, interlacing = struct.unpack(">IIBBBBB", data)
    if width == 0 or height == 0:
        raise Rejected(RejectReason.ZERO_SIZE, f"{name} says that it is {width}×{height} pixels: there is no picture.")
    if depth not in _DEPTHS.get(colour, set()):
        raise Rejected(
            RejectReason.DAMAGED,
            f"{name} is damaged: PNG knows no colour type {colour} with {depth} bits per sample.",
        )
    if compression or filtering or interlacing > 1 or max(width, height) >= 1 << 31:
        raise Rejected(RejectReason.DAMAGED, f"{name} is damaged: its PNG header asks for what PNG does not know.")
    return width, height


def chunk(kind: bytes, data: bytes) -> bytes:
    """The bytes of one chunk, with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(data, zlib.crc32(kind)))


def write(image: Any, metadata: Iterable[tuple[bytes, bytes]], file: BinaryIO) -> None:
    """Write the libvips `image`, grey or RGB of 8 or 16 bits, as a PNG; it is read once from top to bottom.

    `metadata` are chunks to go before the pixels. Raises pyvips.Error where the image cannot be read, and OSError.
    """
    file.write(beginning(image, image.height))
    for kind, data in metadata:
        file.write(chunk(kind, data))
    for packed in pixel_data(image, 0, image.height):
        file.write(chunk(b"IDAT", packed))
    file.write(chunk(b"IEND", b""))


def beginning(image: Any, height: int) -> bytes:
    """Signature and header of a PNG of `height` rows of the image."""
    depth = 16 if image.format == "ushort" else 8
    header = struct.pack(">IIBBBBB", image.width, height, depth, _COLOUR_TYPES[image.bands], 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header)


def pixel_data(image: Any, top: int, height: int) -> Iterator[bytes]:
    """The rows from `top` on, filtered and deflated, in pieces of about a megabyte."""
    region = pyvips.Region.new(image)
    sample = np.dtype(">u2" if image.format == "ushort" else "u1")
    pixel = image.bands * sample.itemsize
    rows_at_once = max(1, _PIECE // (image.width * pixel))
    above = np.zeros((1, image.width * pixel), np.uint8)
    deflate, ready = isal_zlib.compressobj(_LEVEL), []
    for first in range(top, top + height, rows_at_once):
        count = min(rows_at_once, top + height - first)
        fetched = np.frombuffer(region.fetch(0, first, image.width, count), sample.newbyteorder("="))
        rows = fetched.astype(sample, copy=False).view(np.uint8).reshape(count, -1)
        ready.append(deflate.compress(_filtered(rows, above, pixel)))
        above = rows[-1:].copy()
        if sum(map(len, ready)) >= _PIECE:
            yield b"".join(ready)
            ready = []
    yield b"".join((*ready, deflate.flush()))


def _filtered(rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], pixel: int) -> npt.NDArray[np.uint8]:
    """Each byte less the mean of the one to its left and the one above it, with the filter's number before each row."""
    up = np.concatenate([above, rows[:-1]])
    left = np.zeros_like(rows)
    left[:, pixel:] = rows[:, :-pixel]
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _AVERAGE
    # The mean of two bytes, rounded down, without a ninth bit.
    np.subtract(rows, (left & up) + ((left ^ up) >> 1), out=filtered[:, 1:])
    return filtered
