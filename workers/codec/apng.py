"""The frames of an animated PNG, put together one after the other, as libvips sees a still picture in it.

Only one frame is in memory. Format: PNG specification, third edition, sections 11.3.6 and 13.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips

from workers.codec import png
from workers.codec.picture import Animation, Picture, Pixels
from workers.rejects import Rejected, RejectReason

_KEEP, _CLEAR, _RESTORE = range(3)  # what becomes of a frame's place before the next one
_OVER = 1  # a frame is laid over what is there, by its alpha, instead of replacing it
_SHARED = (b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"sRGB")
_MOST_FRAMES = 100_000


class BrokenAnimation(ValueError):
    """The chunks do not make an animation; the still picture in the file may be good all the same."""


@dataclass(frozen=True)
class Frame:
    """Where a frame lies in the picture, how it gets there, and where its data lie in the file (offset, length)."""

    width: int
    height: int
    left: int
    top: int
    delay: int  # milliseconds
    dispose: int
    blend: int
    data: tuple[tuple[int, int], ...]

    def covers(self, width: int, height: int) -> bool:
        return (self.width, self.height) == (width, height)


@dataclass(frozen=True)
class Plan:
    """All that is known of an animation before its pixels are decoded."""

    frames: tuple[Frame, ...]
    plays: int
    header: bytes  # what follows the size in the header
    shared: bytes  # chunks that each frame needs

    @property
    def animation(self) -> Animation:
        return Animation(tuple(frame.delay for frame in self.frames), self.plays)


def plan(path: Path) -> Plan:
    """Find the frames of the animated PNG at `path`, whose chunks `png.outline` has checked. Raises BrokenAnimation."""
    controls: list[tuple[int, ...]] = []
    data: list[list[tuple[int, int]]] = []
    shared, header, size, numbers, plays, promised, still_seen = b"", b"", (0, 0), [], 0, 0, False
    with path.open("rb") as file:
        for kind, offset, length in _chunks(file):
            if kind == b"IHDR":
                size, header = struct.unpack(">II", file.read(8)), file.read(5)
            elif kind == b"acTL" and length == 8 and not still_seen:
                promised, plays = struct.unpack(">II", file.read(8))
            elif kind == b"fcTL" and length == 26:
                number, *control = struct.unpack(">5I2H2B", file.read(26))
                numbers.append(number)
                controls.append(tuple(control))
                data.append([])
            elif kind == b"IDAT":
                still_seen = True
                if data:
                    data[0].append((offset, length))
            elif kind == b"fdAT" and length > 4 and data:
                numbers.append(struct.unpack(">I", file.read(4))[0])
                data[-1].append((offset + 4, length - 4))
            elif kind in _SHARED and not still_seen:
                shared += png.chunk(kind, file.read(length))
    if numbers != list(range(len(numbers))):
        raise BrokenAnimation("its parts are out of order")
    if not controls or promised != len(controls) or not all(data) or len(controls) > _MOST_FRAMES:
        raise BrokenAnimation(f"it promises {promised} frames and has {sum(map(bool, data))}")
    frames = tuple(_frame(control, parts, size) for control, parts in zip(controls, data, strict=True))
    return Plan(frames, plays, header, shared)


def _chunks(file: BinaryIO) -> Any:
    """(kind, offset of the data, length) of each chunk; the file stands at the data then."""
    at = len(png.SIGNATURE)
    while True:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += length + 12


def _frame(control: Sequence[int], data: Sequence[tuple[int, int]], size: tuple[int, int]) -> Frame:
    width, height, left, top, numerator, denominator, dispose, blend = control
    inside = width > 0 and height > 0 and left + width <= size[0] and top + height <= size[1]
    if not inside or dispose > _RESTORE or blend > _OVER:
        raise BrokenAnimation("a frame lies outside of the picture")
    delay = round(1000 * numerator / (denominator or 100))
    return Frame(width, height, left, top, delay, dispose, blend, tuple(data))


class Frames:
    """A source of all frames of an animated PNG; `still` describes the still picture in the same file."""

    def __init__(self, path: Path, plan: Plan, still: Picture) -> None:
        alpha = still.alpha or _shows_nothing_somewhere(plan.frames, still)
        self.picture = replace(still, alpha=alpha, animation=plan.animation)
        self._path = path
        self._plan = plan
        self._added_alpha = alpha and not still.alpha
        self._next = 0
        self._number = -1
        picture = self.picture
        self._shown: Pixels = np.zeros((picture.height, picture.width, picture.bands), picture.dtype)
        self._before = self._shown

    def rows(self, count: int) -> Pixels:
        """See Source."""
        if self._next % self.picture.height == 0:
            self._show_next()
            self._next = 0
        self._next += count
        return self._shown[self._next - count : self._next]

    def _show_next(self) -> None:
        if self._number >= 0:
            self._dispose(self._plan.frames[self._number])
        self._number += 1
        frame = self._plan.frames[self._number]
        if frame.dispose == _RESTORE:
            self._before = self._shown
        self._shown = self._shown.copy()  # rows of the frame before may still be looked at
        place = self._shown[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        pixels = self._decoded(frame)
        place[:] = _laid_over(pixels, place) if frame.blend == _OVER and self.picture.alpha else pixels

    def _dispose(self, frame: Frame) -> None:
        if frame.dispose == _CLEAR:
            self._shown = self._shown.copy()
            self._shown[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width] = 0
        elif frame.dispose == _RESTORE:
            self._shown = self._before

    def _decoded(self, frame: Frame) -> Pixels:
        with self._path.open("rb") as file:
            packed = b"".join(_piece(file, offset, length) for offset, length in frame.data)
        header = png.chunk(b"IHDR", struct.pack(">II", frame.width, frame.height) + self._plan.header)
        whole = png.SIGNATURE + header + self._plan.shared + png.chunk(b"IDAT", packed) + png.chunk(b"IEND", b"")
        try:
            image = pyvips.Image.pngload_buffer(whole, fail_on="error")
            flat: Pixels = np.frombuffer(image.write_to_memory(), self.picture.dtype)
        except pyvips.Error as error:
            details = " ".join(str(error).split())[:200]
            raise Rejected(
                RejectReason.DAMAGED,
                f"{self._path.name} is damaged: frame {self._number + 1} of the PNG does not decode ({details}). "
                "Export the animation again.",
            ) from None
        pixels: Pixels = flat.reshape(frame.height, frame.width, image.bands)
        if self._added_alpha:
            opaque = np.full((*pixels.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
            pixels = np.concatenate([pixels, opaque], axis=-1)
        return pixels


def _piece(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _shows_nothing_somewhere(frames: Sequence[Frame], still: Picture) -> bool:
    """Whether a part of the picture is empty at some time, though its pixels have no alpha."""
    size = still.width, still.height
    cleared = [
        frame.dispose == _CLEAR or (frame.dispose == _RESTORE and number == 0) for number, frame in enumerate(frames)
    ]
    return not frames[0].covers(*size) or any(
        clears and not after.covers(*size) for clears, after in zip(cleared, frames[1:], strict=False)
    )


def _laid_over(above: Pixels, below: Pixels) -> Pixels:
    """`above` over `below`, both with alpha that is not multiplied in."""
    top = np.iinfo(above.dtype).max
    colours, alpha = above[..., :-1].astype(np.float64), above[..., -1:] / top
    rest = below[..., -1:] / top * (1 - alpha)
    both = alpha + rest
    mixed = (colours * alpha + below[..., :-1] * rest) / np.where(both > 0, both, 1)
    result: Pixels = np.rint(np.concatenate([mixed, both * top], axis=-1)).astype(above.dtype)
    return result


def write(image: Any, animation: Animation, metadata: Sequence[tuple[bytes, bytes]], file: BinaryIO) -> None:
    """Write the frames, which lie one below the other in the libvips `image`, as an animated PNG.

    `image` is read once from top to bottom. `metadata` are chunks to go before the pixels.
    """
    height, number = image.height // len(animation.delays), 0
    file.write(png.beginning(image, height))
    file.write(png.chunk(b"acTL", struct.pack(">II", len(animation.delays), animation.plays)))
    for kind, data in metadata:
        file.write(png.chunk(kind, data))
    for position, delay in enumerate(animation.delays):
        file.write(
            png.chunk(b"fcTL", struct.pack(">5I2H2B", number, image.width, height, 0, 0, *_fraction(delay), 0, 0))
        )
        number += 1
        for data in png.pixel_data(image, position * height, height):
            if position == 0:
                file.write(png.chunk(b"IDAT", data))
            else:
                file.write(png.chunk(b"fdAT", struct.pack(">I", number) + data))
                number += 1
    file.write(png.chunk(b"IEND", b""))


def _fraction(delay: int) -> tuple[int, int]:
    return (delay, 1000) if delay < 1 << 16 else (min(round(delay / 1000), (1 << 16) - 1), 1)
