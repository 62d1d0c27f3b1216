"""What libvips does not read, Pillow does: BMP, some TIFFs, and a few formats that are only read.

Pillow holds the whole picture. The plugin is chosen by our own look at the content, never by Pillow's guess.
"""

import errno
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    CurImagePlugin,
    IcoImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    Jpeg2KImagePlugin,
    PcxImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from workers.codec import exif
from workers.codec.picture import Colour, Metadata, Picture, Pixels
from workers.codec.sizes import check_input
from workers.rejects import Rejected, RejectReason

_PLUGINS: dict[str, Callable[[Path], Image.Image]] = {
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "ICO": IcoImagePlugin.IcoImageFile,
    "CUR": CurImagePlugin.CurImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "QOI": QoiImagePlugin.QoiImageFile,
    "PSD": PsdImagePlugin.PsdImageFile,
    "PCX": PcxImagePlugin.PcxImageFile,
    "SGI": SgiImagePlugin.SgiImageFile,
}
READ = frozenset(_PLUGINS) - {"TIFF"}
"""Formats that are read here always; a TIFF only if `tiff.Facts.by_pillow` says so."""
_LOSSY = {"JPEG 2000", "AVIF"}
# What each of Pillow's modes is handed out as: kind, alpha, and Pillow's own mode for that (None: 16 bits).
_KINDS: dict[str, tuple[Colour, bool, str | None]] = {
    "1": (Colour.GREY, False, "L"),
    "L": (Colour.GREY, False, "L"),
    "LA": (Colour.GREY, True, "LA"),
    "P": (Colour.RGB, False, "RGB"),
    "PA": (Colour.RGB, True, "RGBA"),
    "RGB": (Colour.RGB, False, "RGB"),
    "RGBX": (Colour.RGB, False, "RGB"),
    "RGBA": (Colour.RGB, True, "RGBA"),
    "YCbCr": (Colour.RGB, False, "RGB"),
    "LAB": (Colour.RGB, False, "RGB"),
    "CMYK": (Colour.CMYK, False, "CMYK"),
    "I;16": (Colour.GREY, False, None),
    "I;16B": (Colour.GREY, False, None),
    "I": (Colour.GREY, False, None),
}
_FAULTS = (
    *(SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError),
    *(EOFError, struct.error, zlib.error),
)
_SENT_ASTRAY = (errno.EINVAL, errno.EOVERFLOW)  # the file told Pillow to look before its beginning, or far away
_SIXTEEN_BITS = 65535


class PillowSource:
    """Rows of a file that Pillow reads. Nothing is decoded before the first are asked for."""

    def __init__(self, path: Path, format: str, max_pixels: int, page: int = 0, levels: int = _SIXTEEN_BITS) -> None:
        """`levels` is the number that stands for white where there are more than 8 bits."""
        self._path, self._format, self._levels = path, format, levels
        # Not by Image.open(): it warns of, and refuses, large images by a limit of its own.
        try:
            self._image = _PLUGINS[format](path)
            if page:
                self._image.seek(page)
        except _FAULTS as error:
            raise _explained(path, format, error) from None
        except UnidentifiedImageError as error:
            raise _explained(path, format, error) from None
        except OSError as error:
            raise _unless_of_the_disk(path, format, error) from None
        image = self._image
        check_input(path.name, *image.size, max_pixels)
        self._kind = self._kind_of(image)
        colour, alpha, mode = self._kind
        self._pixels: Pixels | None = None
        self._next = 0
        self.picture = Picture(
            format=format,
            width=image.size[0],
            height=image.size[1],
            colour=colour,
            alpha=alpha,
            depth=8 if mode else 16,
            lossless=format not in _LOSSY,
            metadata=_metadata(image),
            notes=self._notes(8 if mode else 16),
        )

    def rows(self, count: int) -> Pixels:
        """See Source."""
        if self._pixels is None:
            self._pixels = self._decoded()
        self._next += count
        return self._pixels[self._next - count : self._next]

    def _kind_of(self, image: Image.Image) -> tuple[Colour, bool, str | None]:
        kind = _KINDS.get(image.mode)
        if kind is None or (image.mode == "I" and self._format != "PNM"):
            raise Rejected(
                RejectReason.UNSUPPORTED_PIXELS,
                f"{self._path.name} has pixels of a kind that is not enhanced ({self._format}, {image.mode}). "
                "Convert it to RGB or grey with 8 or 16 bits.",
            )
        if self._deep_ppm() is not None:
            return Colour.RGB, False, None
        if image.mode == "P" and "transparency" in image.info:
            return Colour.RGB, True, "RGBA"
        return kind

    def _deep_ppm(self) -> tuple[int, int] | None:
        """Where the pixels begin, and what is white, in a binary PPM of more than 8 bits (Pillow would keep 8)."""
        image = self._image
        if self._format != "PNM" or image.mode != "RGB" or not isinstance(image, ImageFile.ImageFile):
            return None
        codec, _, offset, arguments = image.tile[0]
        white = arguments[-1] if isinstance(arguments, tuple) and codec == "ppm" else 255
        return (offset, white) if white > 255 else None

    def _decoded_deep_ppm(self, offset: int, white: int) -> Pixels:
        """Format: netpbm's PPM: two bytes a sample, the higher one first."""
        width, height = self._image.size
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(width * height * 6)
        if len(data) < width * height * 6:
            raise _cut_off(self._path, self._format)
        pixels: Pixels = np.frombuffer(data, ">u2")
        return _to_sixteen_bits(pixels.reshape(height, width, 3), white)

    def _notes(self, depth: int) -> tuple[str, ...]:
        notes = []
        bits = _bits_stated(self._path, self._format)
        if bits > depth:
            notes.append(f"{bits} bits per sample became {depth}. Convert it to PNG or TIFF to keep them.")
        if self._image.mode == "LAB":
            notes.append("Lab was converted to sRGB.")
        frames = getattr(self._image, "n_frames", 1) if self._format == "AVIF" else 1
        if frames > 1:
            notes.append(f"Only the first of {frames} frames was enhanced. Convert it to GIF or WebP to keep all.")
        return tuple(notes)

    def _decoded(self) -> Pixels:
        mode = self._kind[2]
        try:
            if (deep := self._deep_ppm()) is not None:
                return self._decoded_deep_ppm(*deep)
            self._image.load()
            if self._image.mode == "LAB":
                self._image = _from_lab(self._image)
            pixels = np.asarray(self._image.convert(mode) if mode else self._image)
        except _FAULTS as error:
            raise _explained(self._path, self._format, error) from None
        except OSError as error:
            raise _unless_of_the_disk(self._path, self._format, error) from None
        picture = self.picture
        whole: Pixels = pixels.reshape(picture.height, picture.width, picture.bands)
        return whole if mode else _to_sixteen_bits(whole, self._levels)


def _bits_stated(path: Path, format: str) -> int:
    """Bits per sample of a JPEG 2000 or an AVIF, of which Pillow keeps 8 in colour; 0 where they are not found.

    Formats: ISO/IEC 15444-1 (marker SIZ, first component), ISO/IEC 23008-12 (box pixi, first channel).
    """
    mark, after = {"JPEG 2000": (b"\xff\x4f\xff\x51", 38), "AVIF": (b"pixi", 5)}.get(format, (b"", 0))
    if not mark:
        return 0
    with path.open("rb") as file:
        head = file.read(1 << 16)
    place = head.find(mark) + len(mark) + after
    if mark not in head or place >= len(head):
        return 0
    return head[place] if format == "AVIF" else (head[place] & 0x7F) + 1


def _to_sixteen_bits(pixels: Pixels, white: int) -> Pixels:
    scaled = np.minimum(pixels.astype(np.float64) * (_SIXTEEN_BITS / white) + 0.5, _SIXTEEN_BITS)
    whole: Pixels = scaled.astype(np.uint16)
    return whole


def _from_lab(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def _metadata(image: Image.Image) -> Metadata:
    info = image.info
    dpi = info.get("dpi")
    known = dpi if isinstance(dpi, tuple) and len(dpi) == 2 and min(dpi) > 0 else None
    block = info.get("exif") if isinstance(info.get("exif"), bytes) else None
    block = block.removeprefix(b"Exif\0\0") if block else None
    profile = info.get("icc_profile")
    keep_profile = isinstance(profile, bytes) and profile and image.mode in ("L", "RGB", "RGBA", "CMYK", "LA", "P", "1")
    return Metadata(
        icc=profile if keep_profile else None,
        exif=block,
        xmp=info.get("xmp") if isinstance(info.get("xmp"), bytes) else None,
        orientation=_orientation(image, block),
        dots_per_mm=(float(known[0]) / 25.4, float(known[1]) / 25.4) if known else None,
    )


def _orientation(image: Image.Image, block: bytes | None) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stated: Any = image.tag_v2.get(0x0112, 1)
        return stated if stated in range(1, 9) else 1
    return exif.orientation(block) if block else 1


def _explained(path: Path, format: str, error: Exception) -> Rejected:
    details = " ".join(str(error).split())[:200]
    if format == "BMP" and _has_no_size(path):
        return Rejected(RejectReason.ZERO_SIZE, f"{path.name} says that it is 0 pixels wide or high. Export it again.")
    if "nsupported" in details or isinstance(error, NotImplementedError):
        return Rejected(
            RejectReason.UNSUPPORTED_PIXELS,
            f"{path.name} is a {format} of a rare kind that is not read ({details}). Convert it to PNG.",
        )
    if "truncated" in details.lower() or isinstance(error, EOFError):
        return _cut_off(path, format)
    return Rejected(
        RejectReason.DAMAGED,
        f"{path.name} is damaged: the {format} does not decode ({details}). "
        "If an image editor can open it, save it anew there.",
    )


def _has_no_size(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26:
        return False
    sides = struct.unpack("<HH", head[18:22]) if head[14:18] == b"\x0c\0\0\0" else struct.unpack("<ii", head[18:26])
    return 0 in sides


def _cut_off(path: Path, format: str) -> Rejected:
    return Rejected(
        RejectReason.TRUNCATED,
        f"{path.name} is cut off: the {format} ends before its picture does. Copy or download it again.",
    )


def _unless_of_the_disk(path: Path, format: str, error: OSError) -> Exception:
    """Pillow raises OSError for damaged images too; only one of the operating system has a number."""
    if error.errno is not None and error.strerror and error.errno not in _SENT_ASTRAY:
        return error
    return _explained(path, format, error)
