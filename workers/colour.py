"""A network sees three colours between 0 and 1; this is how every other kind of pixel is shown to it and
got back.

Grey is shown as three equal colours. CMYK is shown as its inverted C, M and Y, and K apart as grey, so that
no colour is converted. Alpha is shown apart as grey, and where a pixel is invisible its (meaningless)
colour is replaced by that of its visible neighbours, so that nothing hidden can bleed into what is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from workers.codec.picture import Colour, Picture, Pixels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Plane = TypeVar("Plane", Floats, Mask, Pixels)


class Upscaler(Protocol):
    """What enlarging needs of a model; `workers.model.Upscaler` is one."""

    @property
    def scale(self) -> int: ...

    @property
    def halo(self) -> int:
        """Pixels of the input, on each side of a pixel, that its enlargement depends on."""
        ...

    def __call__(self, tiles: Floats) -> Floats:
        """Enlarge (n, h, w, 3) in [0, 1] to (n, h·scale, w·scale, 3) in [0, 1]."""
        ...


@runtime_checkable
class Direct(Upscaler, Protocol):
    """An upscaler that needs no help with plain RGB, and has a more exact way for pictures of 16 bits."""

    def pixels(self, tiles: Pixels) -> Pixels:
        """The same for whole numbers from black to white, rounded to the nearest."""
        ...

    def exact(self, tiles: Floats) -> Floats: ...


@dataclass(frozen=True)
class _Exact:
    """The more exact way as an upscaler of its own."""

    scale: int
    halo: int
    way: Callable[[Floats], Floats]

    def __call__(self, tiles: Floats) -> Floats:
        return self.way(tiles)


def margin(picture: Picture, upscaler: Upscaler) -> int:
    """Pixels around a tile that `enlarged` wants to see: what the network sees, and with alpha what fills
    in that."""
    return upscaler.halo + (sum(_radii(upscaler.halo)) if picture.alpha else 0)


def enlarged(tiles: Pixels, picture: Picture, upscaler: Upscaler, *, whole: bool = False) -> Pixels:
    """Enlarge `tiles`, (n, h, w, bands) of `picture`'s kind, in as few calls of the network as possible.

    Each tile has its margin around it; the result has not: (n, (h - 2·margin)·scale, (w - 2·margin)·scale,
    bands). The `whole` of a tile, (n, h·scale, w·scale, bands), is to be had where there is no alpha.
    """
    edge = 0 if whole else upscaler.halo
    if isinstance(upscaler, Direct):
        if picture.colour is Colour.RGB and not picture.alpha:
            return _cropped(upscaler.pixels(tiles), edge * upscaler.scale)
        if picture.colour is Colour.RGB and (tiles[..., 3] == np.iinfo(picture.dtype).max).all():
            return _all_opaque(tiles, upscaler)
        if picture.depth == 16:
            upscaler = _Exact(upscaler.scale, upscaler.halo, upscaler.exact)
    top = np.float32(np.iinfo(picture.dtype).max)
    values = tiles.astype(np.float32) / top
    if not picture.alpha:
        bands = _opaque(values, picture.colour, upscaler, edge)
    else:
        bands = _with_alpha(values[..., :-1], values[..., -1], picture.colour, upscaler)
    bands = bands * top
    bands += 0.5  # and cut off below: rounds, and is quicker than to round
    pixels: Pixels = bands.astype(picture.dtype)
    return pixels


def _all_opaque(tiles: Pixels, upscaler: Direct) -> Pixels:
    """Enlarge tiles of RGB with an alpha, margin included, in which nothing is transparent: as without the alpha."""
    seen = np.ascontiguousarray(_cropped(tiles, sum(_radii(upscaler.halo)))[..., :3])
    large = _cropped(upscaler.pixels(seen), upscaler.halo * upscaler.scale)
    result = np.full((*large.shape[:3], 4), np.iinfo(tiles.dtype).max, tiles.dtype)
    result[..., :3] = large
    return result


def _opaque(values: Floats, colour: Colour, upscaler: Upscaler, edge: int) -> Floats:
    """Enlarge (n, h, w, bands) without alpha; the result is cropped by `edge` pixels of the input."""
    if colour is Colour.RGB:
        return _predicted(values, upscaler, edge)
    if colour is Colour.GREY:
        return _mean(_predicted(np.repeat(values, 3, axis=-1), upscaler, edge))
    inverted = 1 - values
    both = np.concatenate([inverted[..., :3], np.repeat(inverted[..., 3:], 3, axis=-1)])
    big = _predicted(both, upscaler, edge)
    paper, black = np.split(big, 2)
    return 1 - np.concatenate([paper, _mean(black)], axis=-1)


def _with_alpha(values: Floats, alpha: Floats, colour: Colour, upscaler: Upscaler) -> Floats:
    """Enlarge colours (n, h, w, bands) and alpha (n, h, w), with the wide margin; the result is cropped."""
    scale, halo, radii = upscaler.scale, upscaler.halo, _radii(upscaler.halo)
    filled, known = _bled(values, alpha > 0, radii)
    filled, known = _cropped(filled, sum(radii)), _cropped(known, sum(radii))
    shape = _stretched(_cropped(known, halo), scale).shape
    result = np.zeros((*shape, values.shape[-1] + 1), np.float32)
    seen = known.any(axis=(1, 2))
    if seen.any():
        result[seen, ..., :-1] = _opaque(filled[seen], colour, upscaler, halo)
    # Too far from anything visible to have a colour: always the same one, not what the network makes of it.
    result[..., :-1] *= _stretched(_cropped(known, halo), scale)[..., None]
    result[..., -1] = _enlarged_alpha(alpha, upscaler)
    return result


def _enlarged_alpha(alpha: Floats, upscaler: Upscaler) -> Floats:
    """Enlarge alpha, never beyond what its 3×3 pixels have: what is all opaque or all invisible stays
    exactly so."""
    scale, spare = upscaler.scale, sum(_radii(upscaler.halo))
    lowest, highest = (
        _stretched(_cropped(_extreme(alpha, of), spare + upscaler.halo), scale) for of in (np.minimum, np.maximum)
    )
    mixed = (lowest != highest).any(axis=(1, 2))
    result = lowest.copy()
    if mixed.any():
        grey = np.repeat(_cropped(alpha[mixed], spare)[..., None], 3, axis=-1)
        result[mixed] = np.clip(_predicted(grey, upscaler, upscaler.halo).mean(axis=-1), lowest[mixed], highest[mixed])
    return result


def _bled(values: Floats, known: Mask, radii: tuple[int, ...]) -> tuple[Floats, Mask]:
    """Let the colours of the `known` pixels flow outwards, as far as the sum of `radii`; where they went is
    known too.

    Each step gives a pixel the mean of the known ones within a square; the squares grow, so few steps go far.
    """
    if known.all():
        return values, known
    colours = values * known[..., None]
    for radius in radii:
        weight = known[..., None].astype(np.float32)
        sums = _box_sums(np.concatenate([colours, weight], axis=-1), radius)
        reached = ~known & (sums[..., -1] > 0.5)
        colours[reached] = sums[reached, :-1] / sums[reached, -1:]
        known = known | reached
    return colours, known


def _box_sums(planes: Floats, radius: int) -> NDArray[np.float64]:
    """The sums over squares of 2·radius+1 pixels a side; outside of the planes (n, h, w, bands) there is
    nothing."""
    sums: NDArray[np.float64] = planes.astype(np.float64)
    for axis in (1, 2):
        length = sums.shape[axis]
        edges = [(0, 0)] * 4
        edges[axis] = (1, 0)
        running = np.pad(sums.cumsum(axis=axis), edges)
        last = np.minimum(np.arange(length) + radius + 1, length)
        first = np.maximum(np.arange(length) - radius, 0)
        sums = running.take(last, axis=axis) - running.take(first, axis=axis)
    return sums


def _radii(halo: int) -> tuple[int, ...]:
    """1, 2, 4, … until together they reach as far as the network sees."""
    radii = [1]
    while sum(radii) < halo:
        radii.append(min(2 * radii[-1], halo - sum(radii)))
    return tuple(radii)


def _extreme(planes: Floats, of: np.ufunc) -> Floats:
    """The minimum or maximum of each pixel of (n, h, w) and its eight neighbours."""
    result = planes
    for axis in (1, 2):
        before = result.take(np.maximum(np.arange(result.shape[axis]) - 1, 0), axis=axis)
        after = result.take(np.minimum(np.arange(result.shape[axis]) + 1, result.shape[axis] - 1), axis=axis)
        result = of(of(before, result), after)
    return result


def _predicted(tiles: Floats, upscaler: Upscaler, edge: int) -> Floats:
    return _cropped(upscaler(tiles), edge * upscaler.scale)


def _mean(planes: Floats) -> Floats:
    mean: Floats = planes.mean(axis=-1, keepdims=True)
    return mean


def _cropped(planes: Plane, edge: int) -> Plane:
    """Without `edge` pixels on each side of the second and third axis."""
    return planes[:, edge : planes.shape[1] - edge, edge : planes.shape[2] - edge]


def _stretched(planes: Plane, scale: int) -> Plane:
    """Each pixel of (n, h, w) repeated scale × scale times."""
    return planes.repeat(scale, axis=1).repeat(scale, axis=2)
