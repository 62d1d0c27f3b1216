"""Opens an image file and hands out its rows from top to bottom, without ever holding the whole picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from workers.codec import apng, description, exif, pillow, png, tiff
from workers.codec.picture import BANDS, Animation, Colour, Metadata, Picture, Pixels, Source
from workers.codec.sizes import check_frames, check_input
from workers.codec.sniff import sniff
from workers.codec.unusual import usual
from workers.codec.vips import FORMATS
from workers.rejects import Rejected, RejectReason

_LOADERS = {
    "PNG": "pngload_source",
    "JPEG": "jpegload_source",
    "WEBP": "webpload_source",
    "TIFF": "tiffload_source",
    "GIF": "gifload_source",
}
ANIMATED = frozenset({"GIF", "WEBP", "PNG"})
"""Formats that hold animations."""
_COLOURS = {
    "b-w": Colour.GREY,
    "grey16": Colour.GREY,
    "srgb": Colour.RGB,
    "rgb": Colour.RGB,
    "rgb16": Colour.RGB,
    "cmyk": Colour.CMYK,
}
# What decoders say of files that may be whole, but are beyond them.
_NOT_READ = ("Unsupported JPEG", "not configured", "not implemented", "unsupported tiff", "samples out of range")
_EXIF_PREFIX = b"Exif\0\0"


def page_numbers(path: Path, format: str) -> tuple[int, ...]:
    """The pages of the file that a file of `format` can hold, in order; only a TIFF holds more than one."""
    if format != "TIFF" or sniff(path) != "TIFF":
        return (0,)
    return tiff.page_numbers(path)


def open_image(path: Path, max_pixels: int, format: str | None = None, page: int = 0) -> Source:
    """Open the image file at `path`, looking at its content only, never at its name.

    Nothing is decoded yet, so a header that lies about its size costs nothing. An animation comes with all its
    frames if a file of `format` can hold them, else as its first frame. Raises Rejected.
    """
    kind = sniff(path)
    outline = png.outline(path) if kind == "PNG" else None
    facts = tiff.facts(path, page) if kind == "TIFF" else None
    if facts is not None:
        _check_facts(path, facts)
    if kind in pillow.READ:
        return pillow.PillowSource(path, kind, max_pixels)
    if facts is not None and facts.by_pillow:
        source = pillow.PillowSource(path, kind, max_pixels, page, levels=(1 << facts.bits) - 1)
        metadata = _described_in_tiff(path, page, source.picture.metadata)
        source.picture = replace(source.picture, metadata=metadata)
        pages = len(tiff.page_numbers(path))
        if pages > 1 and format != "TIFF":
            source.picture = replace(
                source.picture, notes=(*source.picture.notes, *_only_the_first(kind, pages, format))
            )
        return source
    # libtiff calls a wrong orientation an error, and goes on all the same.
    lenient = facts is not None and facts.orientation not in range(1, 9)
    image = _opened(path, kind, page, fail_on="truncated" if lenient else "error")
    check_input(path.name, image.width, image.height, max_pixels)
    try:
        image, notes = usual(path.name, image, _COLOURS, lambda: _opened(path, kind, page))
    except pyvips.Error as error:
        raise explained(path, kind, error) from None
    picture = replace(_described(path, kind, image, outline, facts), notes=notes)
    if kind == "TIFF":
        picture = replace(picture, metadata=_described_in_tiff(path, page, picture.metadata))
    if outline is not None and outline.animated:
        return _animated_png(path, image, picture, max_pixels, format)
    frames = len(tiff.page_numbers(path)) if kind == "TIFF" else _field(image, "n-pages", 1)
    if frames == 1 or (kind == "TIFF" and format == "TIFF"):
        return VipsSource(path, image, picture)
    if kind == "TIFF" or format not in ANIMATED:
        return VipsSource(path, image, replace(picture, notes=(*notes, *_only_the_first(kind, frames, format))))
    check_frames(path.name, image.width, image.height, frames, max_pixels)
    image = _opened(path, kind, all_frames=True)
    animation = Animation(_delays(image, frames), _field(image, "loop", 0))
    picture = _described(path, kind, image, outline, facts)
    return VipsSource(path, image, replace(picture, height=image.height // frames, animation=animation))


def _animated_png(path: Path, image: Any, picture: Picture, max_pixels: int, format: str | None) -> Source:
    try:
        plan = apng.plan(path)
    except apng.BrokenAnimation as error:
        note = f"The animation in the PNG is damaged ({error}): only its still picture was enhanced."
        return VipsSource(path, image, replace(picture, notes=(note,)))
    if len(plan.frames) == 1 and plan.frames[0].covers(picture.width, picture.height):
        return VipsSource(path, image, picture)
    if format not in ANIMATED:
        return VipsSource(path, image, replace(picture, notes=_only_the_first("PNG", len(plan.frames), format)))
    check_frames(path.name, picture.width, picture.height, len(plan.frames), max_pixels)
    return apng.Frames(path, plan, picture)


def _only_the_first(kind: str, count: int, format: str | None) -> tuple[str, ...]:
    if kind == "TIFF":
        return (f"Only the first of {count} pages was enhanced, as {format} holds one. Ask for TIFF to keep all.",)
    return (
        f"Only the first of {count} frames was enhanced, as {format} holds no animation. "
        "Ask for GIF, WebP or PNG to keep all.",
    )


def _delays(image: Any, frames: int) -> tuple[int, ...]:
    """Milliseconds for each frame; some files tell fewer than they have frames."""
    stated = [max(0, delay) for delay in _field(image, "delay", [])][:frames]
    return (*stated, *[100] * (frames - len(stated)))


def _check_facts(path: Path, facts: tiff.Facts) -> None:
    if facts.camera_raw:
        raise Rejected(
            RejectReason.UNSUPPORTED_FORMAT,
            f"{path.name} is a camera raw file or holds only a small preview. Develop it first.",
        )
    if 0 in (facts.width, facts.height):
        raise Rejected(
            RejectReason.ZERO_SIZE,
            f"{path.name} says that it is {facts.width}×{facts.height} pixels: there is no picture. Export it again.",
        )
    if facts.rare:
        raise Rejected(
            RejectReason.UNSUPPORTED_PIXELS,
            f"{path.name} is a TIFF with {facts.rare}, which is not read. Convert it to 8 or 16 bits per sample, "
            "with no compression, LZW or Deflate.",
        )


def _opened(path: Path, kind: str, page: int = 0, *, all_frames: bool = False, fail_on: str = "error") -> Any:
    options = {"n": -1} if all_frames else {"page": page} if page else {}
    with path.open("rb") as file:
        try:
            source = pyvips.Source.new_from_descriptor(file.fileno())
            # "error" still lets warnings pass: cameras and phones write files that decoders grumble about.
            return getattr(pyvips.Image, _LOADERS[kind])(source, access="sequential", fail_on=fail_on, **options)
        except pyvips.Error as error:
            raise explained(path, kind, error) from None


def _described(path: Path, kind: str, image: Any, outline: png.Outline | None, facts: tiff.Facts | None) -> Picture:
    colour = _COLOURS.get(image.interpretation)
    depth = {name: bits for bits, name in FORMATS.items()}.get(image.format)
    extra = -1 if colour is None else image.bands - BANDS[colour]
    if colour is None or depth is None or extra not in (0, 1):
        raise Rejected(
            RejectReason.UNSUPPORTED_PIXELS,
            f"{path.name} has {image.bands} bands of {image.format} ({image.interpretation}); only grey, "
            "RGB and CMYK with 8 or 16 bits, with or without alpha, are enhanced. Convert it to 16 bits.",
        )
    subsampling = _field(image, "jpeg-chroma-subsample", "4:4:4")
    return Picture(
        format=kind,
        width=image.width,
        height=image.height,
        colour=colour,
        alpha=extra == 1,
        depth=depth,
        lossless=_is_lossless(path, kind, facts),
        subsampled=not subsampling.startswith("4:4:4"),
        metadata=_metadata(image, outline),
    )


def _is_lossless(path: Path, kind: str, facts: tiff.Facts | None) -> bool:
    if kind == "WEBP":
        with path.open("rb") as file:
            return b"VP8L" in file.read(4096)[12:]
    return kind != "JPEG" and (facts is None or facts.lossless)


def _metadata(image: Any, outline: png.Outline | None) -> Metadata:
    block = _field(image, "exif-data", None)
    block = block.removeprefix(_EXIF_PREFIX) if block is not None else None
    stated = 1 if block is None else exif.orientation(block)
    known = image.get_typeof("resolution-unit") != 0 or (
        outline is not None and any(kind == b"pHYs" for kind, _ in outline.kept)
    )
    return Metadata(
        icc=_field(image, "icc-profile-data", None),
        exif=block,
        xmp=_field(image, "xmp-data", None),
        iptc=_field(image, "iptc-data", None),
        orientation=_field(image, "orientation", stated),
        dots_per_mm=(image.xres, image.yres) if known else None,
        png_chunks=() if outline is None else outline.kept,
    )


def _described_in_tiff(path: Path, page: int, metadata: Metadata) -> Metadata:
    """EXIF from a TIFF's own tags; it must be there when other formats are to know of an orientation."""
    with path.open("rb") as file:
        block = description.block_of(file, page)
    return replace(metadata, exif=block)


def _field(image: Any, name: str, default: Any) -> Any:
    return image.get(name) if image.get_typeof(name) else default


class VipsSource:
    """Rows of a file that libvips reads."""

    def __init__(self, path: Path, image: Any, picture: Picture) -> None:
        self.picture = picture
        self._path = path
        self._region = pyvips.Region.new(image)
        self._next = 0

    def rows(self, count: int) -> Pixels:
        """See Source."""
        picture = self.picture
        try:
            data = self._region.fetch(0, self._next, picture.width, count)
        except pyvips.Error as error:
            raise explained(self._path, picture.format, error) from None
        self._next += count
        flat: Pixels = np.frombuffer(data, picture.dtype)
        return flat.reshape(count, picture.width, picture.bands)


def explained(path: Path, kind: str, error: Exception) -> Rejected:
    """Why a file of format `kind` did not decode: it ends early, or it is damaged."""
    if _is_cut_off(path, kind):
        return Rejected(
            RejectReason.TRUNCATED,
            f"{path.name} is cut off: the {kind} ends before its picture does. Copy or download it again.",
        )
    details = " ".join(str(error).split())
    if "Empty JPEG image" in details:
        return Rejected(RejectReason.ZERO_SIZE, f"{path.name} says that it is 0 pixels wide or high. Export it again.")
    if any(word in details for word in _NOT_READ):
        return Rejected(
            RejectReason.UNSUPPORTED_PIXELS,
            f"{path.name} is a {kind} of a rare kind that is not read ({details[:200]}). Convert it to PNG.",
        )
    return Rejected(
        RejectReason.DAMAGED,
        f"{path.name} is damaged: the {kind} does not decode ({details[:200]}). "
        "If an image editor can open it, save it anew there.",
    )


def _is_cut_off(path: Path, kind: str) -> bool:
    if kind == "TIFF":
        return tiff.is_cut_off(path)
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
        file.seek(max(0, size - 64))
        tail = file.read()
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 > size
    if kind == "GIF":
        return not tail.rstrip(b"\0").endswith(b";")
    return kind == "JPEG" and b"\xff\xd9" not in tail
