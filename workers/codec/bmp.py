"""BMP is the one format that libvips neither reads nor writes: Pillow reads it, and the writer is here.

Format: the Windows SDK's BITMAPFILEHEADER, BITMAPINFOHEADER and BITMAPV4HEADER.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from PIL import BmpImagePlugin, Image, UnidentifiedImageError

from workers.codec.picture import Colour, Metadata, Picture, Pixels
from workers.rejects import Rejected, RejectReason

_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}
_FILE_HEADER, _INFO_HEADER, _V4_HEADER = 14, 40, 108
_ROWS_AT_ONCE = 64
LARGEST_FILE = (1 << 32) - 1  # its size is stated in 32 bits


class BmpSource:
    """Rows of a BMP. Pillow holds the whole picture (4 bytes per pixel), as BMPs lie upside down."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not by Image.open(): it warns of, and refuses, large images by a limit of its own.
        try:
            self._image: Image.Image = BmpImagePlugin.BmpImageFile(path)
        except (
            SyntaxError,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            struct.error,
            UnidentifiedImageError,
        ) as error:
            raise _damaged(path, error) from None
        except OSError as error:
            raise _unless_of_the_disk(path, error) from None
        width, height = self._image.size
        self._mode = _MODES[self._image.mode]
        self._decoded = False
        self._next = 0
        dpi = self._image.info.get("dpi")
        self.picture = Picture(
            format="BMP",
            width=width,
            height=height,
            colour=Colour.GREY if self._mode == "L" else Colour.RGB,
            alpha=self._mode == "RGBA",
            depth=8,
            lossless=True,
            metadata=Metadata(dots_per_mm=(dpi[0] / 25.4, dpi[1] / 25.4) if dpi and min(dpi) > 0 else None),
        )

    def rows(self, count: int) -> Pixels:
        """See Source."""
        self._decode()
        box = (0, self._next, self.picture.width, self._next + count)
        self._next += count
        part = np.asarray(self._image.crop(box).convert(self._mode))
        return part.reshape(count, self.picture.width, self.picture.bands)

    def _decode(self) -> None:
        if self._decoded:
            return
        try:
            self._image.load()
        except (SyntaxError, ValueError, TypeError, IndexError, struct.error) as error:
            raise _damaged(self._path, error) from None
        except OSError as error:
            raise _unless_of_the_disk(self._path, error) from None
        self._decoded = True


def _damaged(path: Path, error: Exception) -> Rejected:
    return Rejected(RejectReason.DAMAGED, f"{path.name} is damaged: the BMP does not decode ({error}).")


def _unless_of_the_disk(path: Path, error: OSError) -> Exception:
    """Pillow raises OSError for damaged images too; only one of the operating system has a number."""
    if error.errno is not None:
        return error
    if "truncated" in str(error):
        return Rejected(RejectReason.TRUNCATED, f"{path.name} is cut off: the BMP ends before its picture does.")
    return _damaged(path, error)


def file_size(width: int, height: int, bands: int) -> int:
    """Bytes of the BMP that `write` makes of a picture with 1 (grey), 3 (RGB) or 4 (RGBA) bands."""
    header = _FILE_HEADER + (_V4_HEADER if bands == 4 else _INFO_HEADER) + (1024 if bands == 1 else 0)
    return header + _stride(width, bands) * height


def _stride(width: int, bands: int) -> int:
    return -(-width * bands // 4) * 4


def write(image: Any, file: BinaryIO, dots_per_mm: tuple[float, float] | None) -> None:
    """Write a libvips image of 8-bit grey, RGB or RGBA into an empty file, reading it once from top to
    bottom."""
    width, height, bands = image.width, image.height, image.bands
    headers = _headers(width, height, bands, dots_per_mm)
    file.write(headers)
    region = pyvips.Region.new(image)
    stride = _stride(width, bands)
    for top in range(0, height, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, height - top)
        rows = np.frombuffer(region.fetch(0, top, width, count), np.uint8).reshape(count, width, bands)[::-1]
        if bands > 1:
            rows = rows[..., [2, 1, 0, 3][:bands]]
        flat = np.pad(rows.reshape(count, width * bands), ((0, 0), (0, stride - width * bands)))
        file.seek(len(headers) + (height - top - count) * stride)  # the last row comes first in the file
        file.write(flat.tobytes())
    file.seek(0, 2)


def _headers(width: int, height: int, bands: int, dots_per_mm: tuple[float, float] | None) -> bytes:
    across, down = (round(value * 1000) for value in dots_per_mm or (0, 0))
    colours = 256 if bands == 1 else 0
    size = file_size(width, height, bands)
    pixels = _stride(width, bands) * height
    info = _V4_HEADER if bands == 4 else _INFO_HEADER
    compression = 3 if bands == 4 else 0  # masks, so that readers believe in the alpha
    header = struct.pack("<2sIHHI", b"BM", size, 0, 0, size - pixels)
    header += struct.pack(
        "<IiiHHIIiiII", info, width, height, 1, bands * 8, compression, pixels, across, down, colours, 0
    )
    if bands == 4:
        masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
        header += struct.pack("<4I4s48x", *masks, b"BGRs")
    if bands == 1:
        header += bytes(value for level in range(256) for value in (level, level, level, 0))
    return header
