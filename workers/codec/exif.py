"""EXIF is kept to the last byte but for what enlarging makes untrue: the size it states, and sometimes the
orientation.

libvips would rebuild the block and may lose a maker's notes in it; a patch in place does not.
Tags: EXIF 2.32, tables 4 and 7.
"""

import io
import struct

from workers.codec.directory import DirectoryError, entries, layout

_ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_WIDTHS = {0x0100, 0xA002}
_HEIGHTS = {0x0101, 0xA003}
_LONG = 4


def orientation(exif: bytes) -> int:
    """The orientation 1…8 that the block states; 1 when it states none or cannot be read."""
    try:
        file = io.BytesIO(exif)
        shape = layout(file)
        for entry in entries(file, shape, shape.first):
            if entry.tag == _ORIENTATION and entry.values and 1 <= entry.values[0] <= 8:
                return entry.values[0]
    except DirectoryError:
        return 1
    return 1


def patched(exif: bytes, width: int, height: int, orientation: int) -> bytes:
    """The block with the size (pixels, as stored) and the orientation made true; unchanged if it cannot be
    read."""
    result = bytearray(exif)
    file = io.BytesIO(exif)
    try:
        shape = layout(file)
        pending = [shape.first]
        for offset in pending:
            for entry in entries(file, shape, offset):
                if entry.tag == _EXIF_DIRECTORY and entry.values and len(pending) == 1:
                    pending.append(entry.values[0])
                number = _truth(entry.tag, width, height, orientation)
                if number is not None and len(entry.values) == 1 and not shape.big:
                    # As one LONG it fits into the entry itself, whatever its type was before.
                    result[entry.at + 2 : entry.at + 12] = struct.pack(shape.order + "HII", _LONG, 1, number)
                    if entry.tag == _ORIENTATION:  # some readers know this tag as SHORT only
                        result[entry.at + 2 : entry.at + 12] = struct.pack(shape.order + "HIHH", 3, 1, number, 0)
    except DirectoryError:
        return bytes(result)
    return bytes(result)


def _truth(tag: int, width: int, height: int, orientation: int) -> int | None:
    if tag in _WIDTHS:
        return width
    if tag in _HEIGHTS:
        return height
    return orientation if tag == _ORIENTATION else None
