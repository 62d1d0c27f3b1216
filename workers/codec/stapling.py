"""Pages of one TIFF may differ in size and kind, which libvips cannot write: here single TIFFs become one file.

Each page is copied behind the last one; what in it says where something lies is moved along, and the directory
before is told of it. Format: TIFF 6.0, section 2, and BigTIFF.
"""

import shutil
import struct
from typing import BinaryIO

from workers.codec.directory import entries, layout

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_OFFSETS = (273, 324)  # of strips, of tiles


class Stapler:
    """Joins single-page TIFFs, all classic or all BigTIFF, in `whole`: a binary file, open for reading and writing."""

    def __init__(self, whole: BinaryIO) -> None:
        self._whole = whole
        self._link = 0  # where the offset of the next directory belongs

    def add(self, page: BinaryIO) -> None:
        """Append the TIFF in `page`. Its directory must have been written by our own encoder: it is trusted."""
        whole = self._whole
        shape = layout(page)
        base = whole.seek(0, 2)
        base += -base % 16
        whole.seek(base)
        page.seek(0)
        shutil.copyfileobj(page, whole)
        count_code, word, inline = ("Q", "Q", 8) if shape.big else ("H", "I", 4)
        directory = list(entries(page, shape, shape.first))
        for entry in directory:
            page.seek(entry.at)
            tag, kind, length, value = struct.unpack(f"{shape.order}HH{word}{inline}s", page.read(4 + 2 * inline))
            if tag in _OFFSETS:  # written anew, as they may have been short numbers
                kind, places = (16 if shape.big else 4), [offset + base for offset in entry.values]
                value = struct.pack(f"{shape.order}{len(places)}{word}", *places)
                if len(value) > inline:
                    end = whole.seek(0, 2)
                    whole.write(value)
                    value = struct.pack(shape.order + word, end)
            elif _SIZES.get(kind, 1) * length > inline:
                value = struct.pack(shape.order + word, struct.unpack(shape.order + word, value)[0] + base)
            whole.seek(base + entry.at)
            whole.write(struct.pack(f"{shape.order}HH{word}{inline}s", tag, kind, length, value))
        if base:
            whole.seek(self._link)
            whole.write(struct.pack(shape.order + word, base + shape.first))
        first = base + shape.first
        self._link = first + struct.calcsize("=" + count_code) + len(directory) * (20 if shape.big else 12)
        whole.seek(0, 2)
