"""Encodes the enlarged picture, and puts its metadata into the file byte for byte where the encoder would rebuild it."""

import struct
import zlib
from typing import Any, BinaryIO

import pyvips

from workers.codec import bmp, exif, png
from workers.codec.fitting import fitted, with_blob
from workers.codec.picture import Metadata, Picture
from workers.codec.vips import Output

_JPEG_QUALITY = 95
_WEBP_QUALITY = 92
# Measured, see docs/images.md: the knee of seconds against bytes, for photographs and for drawings.
_PNG_LEVEL = 4
_PNG_FILTER = "all"
_SEGMENT = 65533  # bytes a JPEG segment can hold
_ICC_PIECE = _SEGMENT - 14
_BIG_TIFF = 3_900_000_000  # classic TIFF ends at 4 GiB, compressed or not; the last bytes are for tags


def save(image: Any, picture: Picture, format: str, file: BinaryIO) -> tuple[str, ...]:
    """Write the libvips `image`, of `picture`'s kind, into the open binary `file` (readable too, for TIFF).

    Returns notes on what `format` could not hold. Raises OSError when the disk is full.
    """
    image, metadata, notes = fitted(image, picture, format)
    if metadata.exif is not None:
        block = exif.patched(metadata.exif, image.width, image.height, metadata.orientation)
    else:
        block = None
    if metadata.dots_per_mm is not None:
        across, down = metadata.dots_per_mm
        if picture.metadata.orientation >= 5 and metadata.orientation == 1:
            across, down = down, across
        image = image.copy(xres=across, yres=down)
    if format == "BMP":
        bmp.write(image, file, metadata.dots_per_mm)
    else:
        _ENCODERS[format](image, picture, metadata, block, file)
    return notes + _lost(metadata, block, format)


def _lost(metadata: Metadata, block: bytes | None, format: str) -> tuple[str, ...]:
    if block is not None and format in ("TIFF", "BMP", "GIF"):
        return (f"EXIF was not carried over: it is not written into {format} files.",)
    return ()


def _png(image: Any, picture: Picture, metadata: Metadata, block: bytes | None, file: BinaryIO) -> None:
    chunks = b"".join(png.chunk(kind, data) for kind, data in _png_chunks(image, picture, metadata, block))
    # The signature (8 bytes) and the header chunk (25) come first; what describes the colours must precede the pixels.
    with Output(file, chunks, after=33) as out:
        image.pngsave_target(out.target, compression=_PNG_LEVEL, filter=_PNG_FILTER, keep="none")


def _png_chunks(
    image: Any, picture: Picture, metadata: Metadata, block: bytes | None
) -> list[tuple[bytes, bytes]]:
    if picture.format == "PNG":
        return [
            (kind, block if kind == b"eXIf" and block is not None else data)
            for kind, data in metadata.png_chunks
        ]
    chunks = []
    if metadata.icc is not None:
        chunks.append((b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc)))
    if metadata.dots_per_mm is not None:
        chunks.append((b"pHYs", struct.pack(">IIB", round(image.xres * 1000), round(image.yres * 1000), 1)))
    if block is not None:
        chunks.append((b"eXIf", block))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return chunks


def _jpeg(image: Any, picture: Picture, metadata: Metadata, block: bytes | None, file: BinaryIO) -> None:
    segments = b"".join(_segment(marker, data) for marker, data in _jpeg_segments(image, metadata, block))
    subsample = "on" if picture.subsampled else "off"
    # Behind the start marker of 2 bytes. Told to keep nothing, libvips writes no JFIF segment of its own.
    with Output(file, segments, after=2) as out:
        image.jpegsave_target(
            out.target, Q=_JPEG_QUALITY, optimize_coding=True, subsample_mode=subsample, keep="none"
        )


def _jpeg_segments(image: Any, metadata: Metadata, block: bytes | None) -> list[tuple[int, bytes]]:
    segments = []
    if metadata.dots_per_mm is not None:
        density = (1, round(image.xres * 25.4), round(image.yres * 25.4))
    else:
        density = (0, 1, 1)
    if image.interpretation != "cmyk" or metadata.dots_per_mm is not None:
        segments.append((0xE0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0101, *density, 0, 0)))
    if block is not None:
        segments.append((0xE1, b"Exif\0\0" + block))
    if metadata.xmp is not None:
        segments.append((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + metadata.xmp))
    if metadata.icc is not None:
        pieces = [metadata.icc[at : at + _ICC_PIECE] for at in range(0, len(metadata.icc), _ICC_PIECE)]
        if len(pieces) < 256:
            segments += [
                (0xE2, b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece)
                for number, piece in enumerate(pieces, start=1)
            ]
    if metadata.iptc is not None:
        segments.append((0xED, metadata.iptc))
    return [(marker, data) for marker, data in segments if len(data) <= _SEGMENT]


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _webp(image: Any, picture: Picture, metadata: Metadata, block: bytes | None, file: BinaryIO) -> None:
    blobs = {
        "icc-profile-data": metadata.icc,
        "exif-data": None if block is None else b"Exif\0\0" + block,
        "xmp-data": metadata.xmp,
    }
    image = _with_blobs(image, blobs)
    with Output(file) as out:
        image.webpsave_target(
            out.target,
            lossless=picture.lossless,
            Q=100 if picture.lossless else _WEBP_QUALITY,
            effort=4,
            keep="all",
        )


def _tiff(image: Any, picture: Picture, metadata: Metadata, block: bytes | None, file: BinaryIO) -> None:
    blobs = {"icc-profile-data": metadata.icc, "xmp-data": metadata.xmp, "iptc-data": metadata.iptc}
    image = _with_blobs(image, blobs)
    image.set_type(pyvips.GValue.gint_type, "orientation", metadata.orientation)
    raw = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
    with Output(file) as out:
        image.tiffsave_target(
            out.target,
            compression="deflate",
            predictor="horizontal",
            resunit="inch",
            bigtiff=raw > _BIG_TIFF,
            keep="all",
        )


def _gif(image: Any, picture: Picture, metadata: Metadata, block: bytes | None, file: BinaryIO) -> None:
    with Output(file) as out:
        image.gifsave_target(out.target, keep="none")


def _with_blobs(image: Any, blobs: dict[str, bytes | None]) -> Any:
    image = image.copy()
    for name, data in blobs.items():
        if data is not None:
            image = with_blob(image, name, data)
    return image


_ENCODERS = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "TIFF": _tiff, "GIF": _gif}
