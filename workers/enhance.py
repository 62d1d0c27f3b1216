"""One image from file to file: what goes in comes out, larger, with all its frames or pages."""

import hashlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workers.codec import (
    Canvas,
    Picture,
    Pixels,
    Source,
    Stapler,
    Upright,
    check_output,
    check_pages,
    must_be_big,
    must_be_turned,
    open_image,
    page_numbers,
    save,
    save_preview,
)
from workers.colour import Upscaler, enlarged, margin
from workers.naming import SUFFIXES, format_of, known_format
from workers.rejects import Rejected, RejectReason
from workers.tiling import Line, mirrored, mirrored_line, plain_line, tiling
from workers.turns import Turn, Turns

__all__ = ["Enhanced", "Limits", "Upscaler", "enhance_file", "too_little_memory"]

_PREVIEW_SIDE = 320
_SMALLEST_TILE = 64


@dataclass(frozen=True)
class Limits:
    """How much of a machine one image may take.

    max_pixels:   a larger input is rejected (a small file can claim to be enormous)
    tile, batch_pixels, steps: what the network gets at once, see `workers.devices.Portion`; without steps, tiles of
                  few sizes, that see the picture go on beyond its borders as its mirror image
    in_memory:    bytes of the result up to which it is kept in memory; beyond, on the disk beside the target
    """

    max_pixels: int = 300_000_000
    tile: int = 384
    batch_pixels: int = 330_000
    steps: tuple[int, int] | None = None
    in_memory: int = 128 << 20

    @classmethod
    def of(cls, upscaler: Upscaler) -> "Limits":
        """With tiles as the device of this upscaler likes them; the usual ones if it does not say."""
        portion = getattr(upscaler, "portion", None)
        return (
            cls() if portion is None else cls(tile=portion.tile, batch_pixels=portion.batch_pixels, steps=portion.steps)
        )


@dataclass(frozen=True)
class Enhanced:
    """What became of an image. Sizes are in pixels, as they lie in the output file or would at scale 1."""

    width: int
    height: int
    out_width: int
    out_height: int
    format: str  # of the output: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "GIF"
    bytes_in: int
    bytes_out: int
    sha256: str  # of the output file
    seconds: float
    notes: tuple[str, ...]  # sentences on what is not as one might expect


def enhance_file(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    limits: Limits | None = None,
    *,
    output_format: str | None = None,
    preview: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    turns: Turns | None = None,
) -> Enhanced:
    """Enlarge the image file `source` into the image file `target`.

    The output format is `output_format` ("png", "JPEG"…) or else that of the target's suffix; the input
    format is found by content. The target appears complete or not at all. With `preview`, a folder and the
    stem of a name, `<preview>.before.jpg` and `<preview>.after.jpg` show the middle of the picture (at most
    320 pixels of input a side). `on_progress(done, rows)` is called after each row of tiles, in rows of
    input (of each page anew); what it raises ends the work. When memory runs out, the image is begun again with
    smaller tiles. `turns` bounds what several threads that enhance at the same time take together, and may call the
    work off: Withdrawn is raised then, before anything of this image has been to the network. Without `limits` the
    upscaler's device decides.

    Raises Rejected when this image cannot be enhanced, ValueError for an `output_format` that is none,
    OSError for what is no fault of the image (a full disk), MemoryError when even small tiles do not fit.
    Nothing is left behind then.
    """
    started = time.monotonic()
    format = known_format(output_format) if output_format is not None else _wished(target)
    limits, turn = limits or Limits.of(upscaler), Turn(turns or Turns())
    while True:
        try:
            result = _attempt(source, target, format, upscaler, limits, preview, on_progress, turn)
            return replace(result, seconds=time.monotonic() - started)
        except MemoryError:
            if limits.tile <= _SMALLEST_TILE:
                raise
            limits = replace(limits, tile=limits.tile // 2, batch_pixels=limits.batch_pixels // 4)


def too_little_memory() -> Rejected:
    """The reject that a MemoryError of `enhance_file` amounts to."""
    return Rejected(
        RejectReason.TOO_LARGE,
        f"the memory of this machine does not hold it, even in tiles of {_SMALLEST_TILE} pixels. Use a smaller model "
        "or a larger machine, or make the image smaller.",
    )


def _attempt(
    source: Path,
    target: Path,
    format: str,
    upscaler: Upscaler,
    limits: Limits,
    preview: Path | None,
    on_progress: Callable[[int, int], None] | None,
    turn: Turn,
) -> Enhanced:
    """See enhance_file; it does not know how long all attempts took."""
    numbers = page_numbers(source, format)
    header = open_image(source, limits.max_pixels, format, numbers[0])
    bytes_in = source.stat().st_size
    work = _Work(source.name, format, upscaler, limits, target.parent, on_progress, turn)
    with turn.open(_pixels(header.picture)), _published(target) as file:
        opened = _upright(header, format)
        if len(numbers) == 1:
            notes = _enlarged_picture(opened, file, work, preview)
        else:
            notes = _enlarged_pages(source, numbers, file, work, preview)
        size, checksum = _measured(file)
    picture = opened.picture
    return Enhanced(
        width=picture.width,
        height=picture.height,
        out_width=picture.width * upscaler.scale,
        out_height=picture.height * upscaler.scale,
        format=format,
        bytes_in=bytes_in,
        bytes_out=size,
        sha256=checksum,
        seconds=0.0,
        notes=(*_about_the_name(source, picture, format), *notes),
    )


@dataclass(frozen=True)
class _Work:
    """What is the same for all pictures of a file. `folder` is for temporary files."""

    name: str
    format: str  # of the output
    upscaler: Upscaler
    limits: Limits
    folder: Path
    on_progress: Callable[[int, int], None] | None
    turn: Turn

    def size(self, picture: Picture) -> tuple[int, int]:
        """Width and height of the enlarged picture. Raises Rejected where the output format cannot hold it."""
        width, height = picture.width * self.upscaler.scale, picture.height * self.upscaler.scale
        check_output(self.name, width, height, self.format)
        return width, height


def _upright(opened: Source, format: str) -> Source:
    return Upright(opened, format) if must_be_turned(opened.picture, format) else opened


def _pixels(picture: Picture) -> int:
    return picture.width * picture.height * picture.frames


def _enlarged_picture(
    opened: Source, file: BinaryIO, work: _Work, preview: Path | None, *, big: bool = False, page: bool = False
) -> tuple[str, ...]:
    """Enlarge a picture, with all its frames, into `file`; returns notes. The preview is of the first frame."""
    picture = opened.picture
    width, height = work.size(picture)
    with Canvas(picture, width, height * picture.frames, work.folder, work.limits.in_memory) as canvas:
        before = _enlarge(opened, canvas, work, frame=0)
        for frame in range(1, picture.frames):
            _enlarge(opened, canvas, work, frame)
        notes = save(canvas.image(), picture, work.format, file, big=big, page=page)
        if preview is not None:
            _save_previews(preview, before, canvas, picture, work.upscaler.scale)
    if picture.animation is not None:
        notes = (f"All {picture.frames} frames were enhanced.", *notes)
    return (*picture.notes, *notes)


def _enlarged_pages(
    source: Path, numbers: Sequence[int], file: BinaryIO, work: _Work, preview: Path | None
) -> tuple[str, ...]:
    """Enlarge the pages of a TIFF, one after the other, into the TIFF `file`; returns notes, each once."""
    notes = dict.fromkeys((f"All {len(numbers)} pages were enhanced.",))
    pictures = [open_image(source, work.limits.max_pixels, work.format, number).picture for number in numbers]
    check_pages(source.name, [(picture.width, picture.height) for picture in pictures], work.limits.max_pixels)
    area = work.upscaler.scale**2
    big = must_be_big([(picture.width * picture.height * area, picture) for picture in pictures])
    stapler = Stapler(file)
    for position, number in enumerate(numbers):
        opened = _upright(open_image(source, work.limits.max_pixels, work.format, number), work.format)
        with (
            _blamed_on_the_page(position + 1, len(numbers)),
            tempfile.TemporaryFile(dir=work.folder, prefix=".spotlift-", suffix=".tmp") as sheet,
        ):
            told = _enlarged_picture(opened, sheet, work, preview if position == 0 else None, big=big, page=True)
            stapler.add(sheet)
        notes |= dict.fromkeys(told)
    return tuple(notes)


@contextmanager
def _blamed_on_the_page(number: int, count: int) -> Iterator[None]:
    try:
        yield
    except Rejected as reject:
        raise Rejected(reject.reason, f"{reject.message} It is page {number} of {count}.") from None


def _wished(target: Path) -> str:
    format = format_of(target.name)
    if format is None:
        raise Rejected(
            RejectReason.UNSUPPORTED_OUTPUT,
            f"{target.name} says no format: end it in .png, .jpg, .webp, .tif, .bmp or .gif.",
        )
    return format


def _about_the_name(source: Path, picture: Picture, format: str) -> tuple[str, ...]:
    if picture.format not in SUFFIXES:
        return (f"{picture.format} is read but not written: the result is a {format}.",)
    named = format_of(source.name)
    if named in (None, picture.format):
        return ()
    return (f"The file is named like a {named}, but it is a {picture.format}.",)


@dataclass(frozen=True)
class _Middle:
    """The part of the input that a preview shows."""

    top: int
    left: int
    height: int
    width: int


def _middle(picture: Picture) -> _Middle:
    height, width = min(picture.height, _PREVIEW_SIDE), min(picture.width, _PREVIEW_SIDE)
    return _Middle((picture.height - height) // 2, (picture.width - width) // 2, height, width)


def _enlarge(source: Source, canvas: Canvas, work: _Work, frame: int) -> Pixels:
    """Fill `canvas` with the next frame, one row of tiles after another; returns the frame's middle as it was, for
    the preview."""
    picture, scale = source.picture, work.upscaler.scale
    rows, columns = _cut(picture, work)
    middle = _middle(picture)
    shown = np.empty((middle.height, middle.width, picture.bands), picture.dtype)
    decoded = _Window(source)
    for top, start in zip(rows.firsts, rows.windows, strict=True):
        bottom = rows.last(top)
        window = decoded.between(start, start + rows.size)
        canvas.append(_band(window, slice((top - start) * scale, (bottom - start) * scale), columns, picture, work))
        first, last = max(top, middle.top), min(bottom, middle.top + middle.height)
        if first < last:
            part = window[first - start : last - start, middle.left : middle.left + middle.width]
            shown[first - middle.top : last - middle.top] = part
        if work.on_progress is not None:
            work.on_progress(frame * picture.height + bottom, picture.frames * picture.height)
    return shown


def _cut(picture: Picture, work: _Work) -> tuple[Line, Line]:
    """How the picture's height and width are cut into tiles."""
    limits, edge = work.limits, margin(picture, work.upscaler)
    if not limits.steps or picture.alpha:  # what is invisible beyond a border matters for alpha
        cut = tiling(picture.height, picture.width, limits.tile)
        return (
            mirrored_line(picture.height, cut.tile_height, edge),
            mirrored_line(picture.width, cut.tile_width, edge),
        )
    down, across = limits.steps
    largest = limits.tile
    if picture.height * picture.width <= limits.batch_pixels:  # in one piece it needs no margin
        largest = max(picture.height, picture.width)
    return plain_line(picture.height, largest, edge, down), plain_line(picture.width, largest, edge, across)


def _band(window: Pixels, kept: slice, columns: Line, picture: Picture, work: _Work) -> Pixels:
    """Enlarge one row of tiles from the rows it needs, and keep those of the result that it is responsible for."""
    scale = work.upscaler.scale
    band = np.empty((kept.stop - kept.start, picture.width * scale, picture.bands), picture.dtype)
    cuts = list(zip(columns.firsts, columns.windows, strict=True))
    together = max(1, work.limits.batch_pixels // (len(window) * columns.size))
    whole = not picture.alpha
    edge = 0 if whole else margin(picture, work.upscaler) * scale
    for number in range(0, len(cuts), together):
        group = cuts[number : number + together]
        places = [mirrored(start, start + columns.size, picture.width) for _, start in group]
        tiles: Pixels = np.stack([window[:, each] for each in places])
        with work.turn.at_the_network():
            large = enlarged(tiles, picture, work.upscaler, whole=whole)
        for (left, start), tile in zip(group, large, strict=True):
            right = columns.last(left)
            rows = tile[kept.start - edge : kept.stop - edge]
            band[:, left * scale : right * scale] = rows[
                :, (left - start) * scale - edge : (right - start) * scale - edge
            ]
    return band


class _Window:
    """The rows of a source that are needed: each is decoded once, and forgotten when it is passed."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._first = 0
        picture = source.picture
        self._rows: Pixels = np.empty((0, picture.width, picture.bands), picture.dtype)

    def between(self, first: int, last: int) -> Pixels:
        """The rows first…last-1, (last-first, width, bands), mirrored beyond the picture. `first` may only
        grow."""
        places = mirrored(first, last, self._source.picture.height)
        lowest, highest = int(places.min()), int(places.max())
        held = self._first + len(self._rows)
        if highest >= held:
            fresh = self._source.rows(highest + 1 - held)
            kept = self._rows[max(0, lowest - self._first) :]
            self._first = held - len(kept)
            self._rows = np.concatenate([kept, fresh])
        return self._rows[places - self._first]


@contextmanager
def _published(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the name `target` when the block ends well, and vanishes when it does not."""
    temporary = target.with_name(f".spotlift-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("x+b") as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _measured(file: BinaryIO) -> tuple[int, str]:
    """Bytes and SHA-256 of what was written."""
    file.flush()
    file.seek(0)
    checksum = hashlib.sha256()
    while piece := file.read(1 << 20):
        checksum.update(piece)
    return file.tell(), checksum.hexdigest()


def _save_previews(stem: Path, before: Pixels, canvas: Canvas, picture: Picture, scale: int) -> None:
    middle = _middle(picture)
    after = canvas.crop(middle.top * scale, middle.left * scale, middle.height * scale, middle.width * scale)
    save_preview(before, picture, stem.with_name(stem.name + ".before.jpg"))
    save_preview(after, picture, stem.with_name(stem.name + ".after.jpg"))
