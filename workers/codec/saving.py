"""Encodes the enlarged picture, and puts its metadata in byte for byte where the encoder would rebuild
them."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyvips

from workers.codec import apng, bmp, description, exif, png
from workers.codec.fitting import fitted, with_blob
from workers.codec.picture import Metadata, Picture
from workers.codec.vips import Output
from workers.rejects import Rejected, RejectReason

# All measured, see docs/images.md: the knees of seconds against bytes, for photographs and for drawings.
_WEBP_LOSSLESS = {"lossless": True, "effort": 0, "Q": 20}
_WEBP_LOSSY = {"lossless": False, "effort": 0, "Q": 92}
_GIF = {"effort": 4}
_KEEP_EXIF, _KEEP_XMP, _KEEP_ICC = 1, 2, 8  # as libvips numbers them
_JPEG_QUALITY = 95
_SEGMENT = 65533  # bytes that a JPEG segment can hold
_ICC_PIECE = _SEGMENT - 14
_BIG_TIFF = 3_900_000_000  # a classic TIFF ends at 4 GiB; the last bytes are for its tags
_MOST_DOTS = 1_000_000  # per mm; beyond that it is nonsense, and does not fit into some formats
_NOT_IN_EXIF = ("BMP", "GIF")  # formats into which EXIF is not written


@dataclass(frozen=True)
class _Fitted:
    """A libvips image that its format can hold, with what else goes into the file."""

    image: Any
    metadata: Metadata
    picture: Picture  # what the image was made from
    big: bool = False  # whether a TIFF must be a BigTIFF
    page: bool = False  # whether a TIFF is one page of many

    def animation(self) -> dict[str, Any]:
        """What an encoder of libvips must be told, and the image tagged with, so that frames are frames."""
        if self.picture.animation is None:
            return {}
        self.image.set_type(pyvips.GValue.gint_type, "loop", self.picture.animation.plays)
        self.image.set_type(pyvips.GValue.array_int_type, "delay", list(self.picture.animation.delays))
        return {"page_height": self.image.height // self.picture.frames}


def save(
    image: Any, picture: Picture, format: str, file: BinaryIO, *, big: bool = False, page: bool = False
) -> tuple[str, ...]:
    """Write the libvips `image`, of `picture`'s kind, into the open binary `file` (readable too, for TIFF).

    The frames of an animation lie one below the other in `image`. `big` makes a TIFF a BigTIFF in any case; as a `page`
    of many it keeps of its EXIF the texts only.
    Returns notes on what `format` could not hold. Raises OSError when the disk is full, Rejected when the
    encoder refuses the picture.
    """
    image, metadata, notes = fitted(image, picture, format)
    if metadata.exif is not None:
        height = image.height // picture.frames
        block = exif.patched(metadata.exif, image.width, height, metadata.orientation)
        metadata = replace(metadata, exif=block)
        if format in _NOT_IN_EXIF:
            notes += (f"EXIF was not carried over: it is not written into {format} files.",)
    if metadata.dots_per_mm is not None and not all(0 < dots < _MOST_DOTS for dots in metadata.dots_per_mm):
        metadata = replace(metadata, dots_per_mm=None)
    if metadata.dots_per_mm is not None:
        image = image.copy(xres=metadata.dots_per_mm[0], yres=metadata.dots_per_mm[1])
    try:
        _ENCODERS[format](_Fitted(image, metadata, picture, big, page), file)
    except pyvips.Error as error:
        details = " ".join(str(error).split())[:200]
        raise Rejected(
            RejectReason.UNEXPECTED, f"The enlarged picture could not be written as {format} ({details})."
        ) from None
    return notes


def must_be_big(pages: Iterable[tuple[int, Picture]]) -> bool:
    """Whether a TIFF of these (pixels, kind) may grow beyond what a classic one can hold."""
    return sum(pixels * picture.bands * (picture.depth // 8) for pixels, picture in pages) > _BIG_TIFF


def _save_png(fitted: _Fitted, file: BinaryIO) -> None:
    if fitted.picture.animation is not None:
        apng.write(fitted.image, fitted.picture.animation, _png_chunks(fitted), file)
    else:
        png.write(fitted.image, _png_chunks(fitted), file)


def _png_chunks(fitted: _Fitted) -> list[tuple[bytes, bytes]]:
    metadata = fitted.metadata
    if fitted.picture.format == "PNG":
        return [
            (kind, metadata.exif if kind == b"eXIf" and metadata.exif is not None else data)
            for kind, data in metadata.png_chunks
        ]
    chunks = []
    if metadata.icc is not None:
        chunks.append((b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc)))
    if metadata.dots_per_mm is not None:
        across, down = (round(dots * 1000) for dots in metadata.dots_per_mm)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif is not None and metadata.exif[:4] in (b"II*\0", b"MM\0*"):
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return chunks


def _save_jpeg(fitted: _Fitted, file: BinaryIO) -> None:
    segments = b"".join(_segment(marker, data) for marker, data in _jpeg_segments(fitted))
    # Behind the start marker of 2 bytes. Told to keep nothing, libvips writes no JFIF segment of its own.
    with Output(file, segments, after=2) as out:
        fitted.image.jpegsave_target(
            out.target,
            Q=_JPEG_QUALITY,
            # Tables of its own cost an encoder nearly three times the seconds, and all of the picture in memory, for
            # files 4 % smaller.
            optimize_coding=False,
            subsample_mode="on" if fitted.picture.subsampled else "off",
            keep="none",
        )


def _jpeg_segments(fitted: _Fitted) -> list[tuple[int, bytes]]:
    metadata, segments = fitted.metadata, []
    if metadata.dots_per_mm is not None:
        density = (1, *(min(round(dots * 25.4), 65535) for dots in metadata.dots_per_mm))
    else:
        density = (0, 1, 1)
    if metadata.dots_per_mm is not None or fitted.image.interpretation != "cmyk":
        segments.append((0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, *density, 0, 0)))
    if metadata.exif is not None:
        segments.append((0xE1, b"Exif\0\0" + metadata.exif))
    if metadata.xmp is not None:
        segments.append((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + metadata.xmp))
    if metadata.icc is not None:
        pieces = [metadata.icc[at : at + _ICC_PIECE] for at in range(0, len(metadata.icc), _ICC_PIECE)]
        for number, piece in enumerate(pieces if len(pieces) < 256 else [], start=1):
            segments.append((0xE2, b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece))
    if metadata.iptc is not None:
        segments.append((0xED, metadata.iptc))
    return [(marker, data) for marker, data in segments if len(data) <= _SEGMENT]


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _save_webp(fitted: _Fitted, file: BinaryIO) -> None:
    metadata = fitted.metadata
    block = None if metadata.exif is None else b"Exif\0\0" + metadata.exif
    image = _tagged(
        fitted.image,
        {"icc-profile-data": metadata.icc, "exif-data": block, "xmp-data": metadata.xmp},
    )
    # Told to keep all, libvips makes up an EXIF block where there was none.
    keep = _KEEP_EXIF * (block is not None) + _KEEP_XMP + _KEEP_ICC
    options = _WEBP_LOSSLESS if fitted.picture.lossless else _WEBP_LOSSY
    animation = replace(fitted, image=image).animation()
    with Output(file) as out:
        image.webpsave_target(out.target, keep=keep, **options, **animation)


def _save_tiff(fitted: _Fitted, file: BinaryIO) -> None:
    metadata = fitted.metadata
    image = _tagged(
        fitted.image,
        {"icc-profile-data": metadata.icc, "xmp-data": metadata.xmp, "iptc-data": metadata.iptc},
    )
    image.set_type(pyvips.GValue.gint_type, "orientation", metadata.orientation)
    raw = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
    with Output(file) as out:
        image.tiffsave_target(
            out.target,
            compression="deflate",
            predictor="horizontal",
            resunit="inch",
            bigtiff=fitted.big or raw > _BIG_TIFF,
            keep="all",
        )
    if metadata.exif is not None:
        description.embed(file, metadata.exif, deep=not fitted.page)


def _save_gif(fitted: _Fitted, file: BinaryIO) -> None:
    fitted = replace(fitted, image=fitted.image.copy())
    animation = fitted.animation()
    with Output(file) as out:
        fitted.image.gifsave_target(out.target, keep="none", keep_duplicate_frames=True, **_GIF, **animation)


def _save_bmp(fitted: _Fitted, file: BinaryIO) -> None:
    bmp.write(fitted.image, file, fitted.metadata.dots_per_mm)


def _tagged(image: Any, blobs: dict[str, bytes | None]) -> Any:
    image = image.copy()
    for name, data in blobs.items():
        if data is not None:
            image = with_blob(image, name, data)
    return image


_ENCODERS = {
    "PNG": _save_png,
    "JPEG": _save_jpeg,
    "WEBP": _save_webp,
    "TIFF": _save_tiff,
    "BMP": _save_bmp,
    "GIF": _save_gif,
}
