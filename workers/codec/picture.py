"""What the enhancer must know of an image besides its pixels, whatever the file format."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Rows of a picture as they lie in its file: (rows, width, bands) of uint8 or uint16.
Pixels = NDArray[np.unsignedinteger[Any]]


class Colour(StrEnum):
    """What the bands before the alpha mean."""

    GREY = "GREY"
    RGB = "RGB"
    CMYK = "CMYK"  # amounts of ink, 0 is none


BANDS = {Colour.GREY: 1, Colour.RGB: 3, Colour.CMYK: 4}


@dataclass(frozen=True)
class Metadata:
    """What travels from the input file to the output file beside the pixels."""

    icc: bytes | None = None
    exif: bytes | None = None  # from its byte-order mark on, without the prefix "Exif\0\0"
    xmp: bytes | None = None
    iptc: bytes | None = None
    orientation: int = 1  # as EXIF numbers it: 1 is upright, 5 to 8 swap width and height
    dots_per_mm: tuple[float, float] | None = None  # None: the file does not say
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()  # (kind, data) of a PNG's own, kept when a PNG is written


@dataclass(frozen=True)
class Animation:
    """How the frames of a picture follow each other."""

    delays: tuple[int, ...]  # milliseconds that each frame is shown; one for each frame
    plays: int  # how often all of it is shown; 0: for ever


@dataclass(frozen=True)
class Picture:
    """A decoded header: everything about an image but its pixels.

    The rows of an animation's frames come one frame after the other; `height` is that of one frame.
    """

    format: str  # "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "GIF"
    width: int
    height: int
    colour: Colour
    alpha: bool
    depth: int  # bits per sample of the pixels that are handed out: 8 or 16
    lossless: bool  # whether the file kept every pixel as it was
    subsampled: bool = False  # a JPEG with less colour than brightness
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    animation: Animation | None = None

    @property
    def frames(self) -> int:
        return 1 if self.animation is None else len(self.animation.delays)

    @property
    def bands(self) -> int:
        return BANDS[self.colour] + self.alpha

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return np.uint8 if self.depth == 8 else np.uint16


class Source(Protocol):
    """An opened image."""

    @property
    def picture(self) -> Picture: ...

    def rows(self, count: int) -> Pixels:
        """The next `count` rows, (count, width, bands), all of one frame. Raises Rejected where the file does not
        decode."""
        ...
