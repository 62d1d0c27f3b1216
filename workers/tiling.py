"""A picture is enlarged in tiles that all have one shape, so that the network is set up once and memory
stays bounded.

The picture is thought to go on beyond its borders as its own mirror image. A tile sees `margin` pixels more
than it is responsible for on each side; with a margin at least as wide as the network can see, no result
depends on the cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Few sizes, so that images of many sizes share few shapes; steps of at most a third, so that little is
# wasted.
_SIZES = (16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024)


@dataclass(frozen=True)
class Tiling:
    """Where the tiles lie: each is responsible for tile_height × tile_width pixels, the last ones for less.

    `tops` and `lefts` are the first rows and columns of the tiles, in pixels of the picture.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int

    @property
    def tops(self) -> range:
        return range(0, self.height, self.tile_height)

    @property
    def lefts(self) -> range:
        return range(0, self.width, self.tile_width)

    def batches(self, margin: int, most_pixels: int) -> Iterator[tuple[int, ...]]:
        """The left edges of one row of tiles, in groups of at most `most_pixels` with their margins (at
        least one)."""
        pixels = (self.tile_height + 2 * margin) * (self.tile_width + 2 * margin)
        together = max(1, most_pixels // pixels)
        lefts = tuple(self.lefts)
        for first in range(0, len(lefts), together):
            yield lefts[first : first + together]


def tiling(height: int, width: int, largest: int) -> Tiling:
    """Cover a picture of height × width pixels with equal tiles of at most `largest` pixels a side."""
    return Tiling(height, width, _side(height, largest), _side(width, largest))


@dataclass(frozen=True)
class Line:
    """One side of a picture, cut into tiles: `windows` are the first pixels that they see, of `size` each."""

    length: int
    tile: int
    size: int
    windows: tuple[int, ...]

    @property
    def firsts(self) -> range:
        """The first pixels that the tiles are responsible for."""
        return range(0, self.length, self.tile)

    def last(self, first: int) -> int:
        """Behind the last pixel that the tile which begins at `first` is responsible for."""
        return min(first + self.tile, self.length)


def mirrored_line(length: int, tile: int, margin: int) -> Line:
    """Tiles that see `margin` pixels more on each side, also beyond the ends of the picture."""
    return Line(length, tile, tile + 2 * margin, tuple(range(-margin, length - margin, tile)))


def plain_line(length: int, largest: int, margin: int, step: int) -> Line:
    """Tiles that see the ends of the picture as the network sees them, and `margin` pixels more where it goes on.

    They are as small as they can be, but their size with the margins is a multiple of `step`; for its sake the line
    goes on beyond its end as its mirror image, always by the same few pixels.
    """
    end = length + -length % step
    size = _needed(length, largest) + 2 * margin
    size += -size % step
    if size >= end:
        return Line(length, length, end, (0,))
    tile = size - 2 * margin
    return Line(length, tile, size, tuple(min(max(0, at - margin), end - size) for at in range(0, length, tile)))


def _needed(length: int, largest: int) -> int:
    """The smallest size with which the fewest possible tiles cover `length`."""
    return -(-length // -(-length // largest))


def _side(length: int, largest: int) -> int:
    """The smallest allowed size with which the fewest possible tiles cover `length`."""
    needed = _needed(length, largest)
    return min((size for size in (*_SIZES, largest) if needed <= size <= largest), default=largest)


def mirrored(first: int, last: int, length: int) -> NDArray[np.intp]:
    """Where the positions first…last-1 lie in a line of `length` pixels that is mirrored at its ends for
    ever.

    The pixel at the end is not repeated: -1 is 1, `length` is `length - 2`.
    """
    if length == 1:
        return np.zeros(last - first, np.intp)
    period = 2 * (length - 1)
    place = np.arange(first, last) % period
    return np.minimum(place, period - place)
