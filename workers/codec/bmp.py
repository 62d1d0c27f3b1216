"""BMP is the one format that libvips neither reads nor writes: `pillow` reads it, and the writer is here.

Format: the Windows SDK's BITMAPFILEHEADER, BITMAPINFOHEADER and BITMAPV4HEADER.
"""

import struct
from typing import Any, BinaryIO

import numpy as np
import pyvips

_FILE_HEADER, _INFO_HEADER, _V4_HEADER = 14, 40, 108
_ROWS_AT_ONCE = 64
LARGEST_FILE = (1 << 32) - 1  # its size is stated in 32 bits


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
