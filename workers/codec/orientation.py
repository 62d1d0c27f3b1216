"""Cameras store a picture as the sensor lay and note how to turn it; what viewers would not turn is turned
here."""

from dataclasses import replace

import numpy as np

from workers.codec.picture import Picture, Pixels, Source

# Viewers turn a picture by its EXIF orientation in these formats only.
_TURNED_BY_VIEWERS = {"JPEG", "TIFF", "WEBP"}


def must_be_turned(picture: Picture, format: str) -> bool:
    """Whether the pixels must be turned upright, as viewers would not do it any more in the new format."""
    known = picture.format == format or format in _TURNED_BY_VIEWERS
    return picture.metadata.orientation != 1 and not known


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """(height, width, bands) as stored in this EXIF orientation (1 to 8), upright: 5 to 8 swap height and
    width.

    Source: EXIF 2.32, tag Orientation: where the stored first row and first column are in the upright
    picture.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


class Upright:
    """A source that hands out another one's picture upright. It holds one frame, as its first row may be the
    last."""

    def __init__(self, source: Source, format: str) -> None:
        picture = source.picture
        metadata = picture.metadata
        self._source = source
        self._pixels = turned(source.rows(picture.height), metadata.orientation)
        self._next = 0
        dots = metadata.dots_per_mm
        if dots is not None and metadata.orientation >= 5:
            dots = (dots[1], dots[0])
        self.picture = replace(
            picture,
            height=self._pixels.shape[0],
            width=self._pixels.shape[1],
            metadata=replace(metadata, orientation=1, dots_per_mm=dots),
            notes=(
                *picture.notes,
                f"Turned upright, as viewers ignore the orientation stored in a {format}.",
            ),
        )

    def rows(self, count: int) -> Pixels:
        """See Source."""
        if self._next == self.picture.height:
            stored = self._source.picture
            self._pixels = turned(self._source.rows(stored.height), stored.metadata.orientation)
            self._next = 0
        self._next += count
        return np.ascontiguousarray(self._pixels[self._next - count : self._next])
