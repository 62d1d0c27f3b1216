"""The enlarged picture while it grows row by row: in memory when small, in a temporary file when not.

So memory does not depend on the size of the picture: libvips maps only a window of the file at a time.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pyvips

from workers.codec.picture import Colour, Picture, Pixels
from workers.codec.vips import FORMATS

_INTERPRETATIONS = {
    (Colour.GREY, 8): "b-w",
    (Colour.GREY, 16): "grey16",
    (Colour.RGB, 8): "srgb",
    (Colour.RGB, 16): "rgb16",
    (Colour.CMYK, 8): "cmyk",
    (Colour.CMYK, 16): "cmyk",
}


class Canvas:
    """Rows go in from top to bottom; `image()` gives the whole, of `picture`'s kind, for reading in any order.

    `folder` is where the temporary file lives, on the disk that the result goes to anyway. It has no name there
    (or loses it at once), so that nothing is left behind even if the process is killed.
    """

    def __init__(self, picture: Picture, width: int, height: int, folder: Path, in_memory: int) -> None:
        self.width, self.height = width, height
        self._picture = picture
        self._row = width * picture.bands * (picture.depth // 8)
        self._filled = 0
        self._memory: Pixels | None = None
        self._file: BinaryIO | None = None
        if self._row * height <= in_memory:
            self._memory = np.empty((height, width, picture.bands), picture.dtype)
        else:
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".spotlift-", suffix=".tmp")  # noqa: SIM115

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
        """The whole picture as a libvips image. It must not outlive the canvas."""
        if self._filled != self.height:
            raise ValueError(f"{self._filled} of {self.height} rows are there")
        if self._memory is not None:
            return as_image(self._memory, self._picture)
        assert self._file is not None
        self._file.flush()
        image = pyvips.Image.rawload(
            f"/proc/self/fd/{self._file.fileno()}",
            self.width,
            self.height,
            self._picture.bands,
            format=FORMATS[self._picture.depth],
        )
        return image.copy(interpretation=_INTERPRETATIONS[self._picture.colour, self._picture.depth])

    def crop(self, top: int, left: int, height: int, width: int) -> Pixels:
        """A part of the picture, (height, width, bands)."""
        part: Pixels = self.image().crop(left, top, width, height).numpy()
        return part.reshape(height, width, self._picture.bands)


def as_image(pixels: Pixels, picture: Picture) -> Any:
    """`pixels`, (height, width, bands), as a libvips image of `picture`'s kind."""
    height, width, bands = pixels.shape
    packed = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(packed, width, height, bands, FORMATS[picture.depth])
    return image.copy(interpretation=_INTERPRETATIONS[picture.colour, picture.depth])
