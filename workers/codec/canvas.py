"""The enlarged picture while it grows row by row: in memory when small, in a temporary file when not.

So memory does not depend on the size of the picture. The file is an uncompressed BigTIFF, because libvips
reads that through a small window; a raw file it would map into memory whole.
"""

import struct
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyvips

from workers.codec.picture import BANDS, Colour, Picture, Pixels
from workers.codec.vips import FORMATS

_INTERPRETATIONS = {
    (Colour.GREY, 8): "b-w",
    (Colour.GREY, 16): "grey16",
    (Colour.RGB, 8): "srgb",
    (Colour.RGB, 16): "rgb16",
    (Colour.CMYK, 8): "cmyk",
    (Colour.CMYK, 16): "cmyk",
}
_PHOTOMETRIC = {Colour.GREY: 1, Colour.RGB: 2, Colour.CMYK: 5}
_SHORT, _LONG, _LONG8 = 3, 4, 16
_ROWS_PER_STRIP = 16


class Canvas:
    """Rows go in from top to bottom; `image()` and `crop()` give them back when all are there.

    `folder` is where the temporary file lives, on the disk that the result goes to anyway. It has no name
    there, so that nothing is left behind even if the process is killed. The frames of an animation lie one below
    the other; `height` is that of all of them.
    """

    def __init__(self, picture: Picture, width: int, height: int, folder: Path, in_memory: int) -> None:
        self.width, self.height = width, height
        self._picture = picture
        self._row = width * picture.bands * (picture.depth // 8)
        self._filled = 0
        self._memory: Pixels | None = None
        self._file: BinaryIO | None = None
        self._start = 0
        if self._row * height <= in_memory:
            self._memory = np.empty((height, width, picture.bands), picture.dtype)
        else:
            header = _header(picture, width, height)
            self._start = len(header)
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".spotlift-", suffix=".tmp")  # noqa: SIM115
            self._file.write(header)

    def __enter__(self) -> "Canvas":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, rows: Pixels) -> None:
        """Add `rows`, (count, width, bands), below those that are there."""
        if self._memory is not None:
            self._memory[self._filled : self._filled + len(rows)] = rows
        elif self._file is not None:
            self._file.write(np.ascontiguousarray(rows).data)
        self._filled += len(rows)

    def image(self) -> Any:
        """The whole picture as a libvips image, to be read once, from top to bottom, while the canvas is
        there."""
        if self._filled != self.height:
            raise ValueError(f"{self._filled} of {self.height} rows are there")
        if self._file is None:
            return as_image(self.crop(0, 0, self.height, self.width), self._picture)
        self._file.flush()
        source = pyvips.Source.new_from_descriptor(self._file.fileno())
        image = pyvips.Image.tiffload_source(source, access="sequential")
        return image.copy(interpretation=_INTERPRETATIONS[self._picture.colour, self._picture.depth])

    def crop(self, top: int, left: int, height: int, width: int) -> Pixels:
        """A part of the picture, (height, width, bands)."""
        if self._memory is not None:
            return self._memory[top : top + height, left : left + width]
        assert self._file is not None
        self._file.seek(self._start + top * self._row)
        flat: Pixels = np.frombuffer(self._file.read(height * self._row), self._picture.dtype)
        return flat.reshape(height, self.width, self._picture.bands)[:, left : left + width]


def as_image(pixels: Pixels, picture: Picture) -> Any:
    """`pixels`, (height, width, bands), as a libvips image of `picture`'s kind."""
    height, width, bands = pixels.shape
    packed = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(packed, width, height, bands, FORMATS[picture.depth])
    return image.copy(interpretation=_INTERPRETATIONS[picture.colour, picture.depth])


def _header(picture: Picture, width: int, height: int) -> bytes:
    """All that precedes the rows in an uncompressed BigTIFF of this size, in this machine's own byte order.

    Format: TIFF 6.0 with the 64-bit offsets of BigTIFF.
    """
    bands = picture.bands
    strip = _ROWS_PER_STRIP * width * bands * (picture.depth // 8)
    strips = -(-height // _ROWS_PER_STRIP)
    last = (height - (strips - 1) * _ROWS_PER_STRIP) * (strip // _ROWS_PER_STRIP)
    tags = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [picture.depth] * bands),
        (259, _SHORT, [1]),  # not compressed
        (262, _SHORT, [_PHOTOMETRIC[picture.colour]]),
        (273, _LONG8, [0] * strips),  # filled in below, when it is known where the rows begin
        (277, _SHORT, [bands]),
        (278, _LONG, [_ROWS_PER_STRIP]),
        (279, _LONG8, [strip] * (strips - 1) + [last]),
        (284, _SHORT, [1]),  # the bands of a pixel lie together
    ]
    if bands > BANDS[picture.colour]:
        tags.append((338, _SHORT, [2]))  # alpha, not multiplied in
    begin = 16 + 8 + 20 * len(tags) + 8
    start = begin + sum(len(_packed(kind, values)) for _, kind, values in tags)
    order = b"II" if sys.byteorder == "little" else b"MM"
    directory, data = struct.pack("=Q", len(tags)), b""
    for tag, kind, values in tags:
        if tag == 273:
            values = [start + number * strip for number in range(strips)]
        packed = _packed(kind, values)
        inline = packed if len(packed) <= 8 else struct.pack("=Q", begin + len(data))
        directory += struct.pack("=HHQ", tag, kind, len(values)) + inline.ljust(8, b"\0")
        data += packed
    return order + struct.pack("=HHHQ", 43, 8, 0, 16) + directory + bytes(8) + data


def _packed(kind: int, values: list[int]) -> bytes:
    code = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
    return struct.pack(f"={len(values)}{code}", *values)
