"""How large a picture may be: on the way in by our own limit, on the way out by what a format can state."""

from collections.abc import Sequence

from workers.codec import bmp
from workers.rejects import Rejected, RejectReason

# Pixels a side. JPEG could state 65535, but the encoder that everybody uses stops at 65500.
_LARGEST_SIDE = {
    "JPEG": 65500,
    "WEBP": 16383,
    "GIF": 65535,
    "PNG": 100_000_000,
    "TIFF": 100_000_000,
    "BMP": 100_000_000,
}


_PAGES_TOGETHER = 20
"""So many of the largest allowed pictures may be in a TIFF: its pages can all lie in one place, in a small file."""


def check_input(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raise Rejected(ZERO_SIZE or TOO_LARGE) unless a picture of this size may be decoded."""
    if width < 1 or height < 1:
        raise Rejected(RejectReason.ZERO_SIZE, f"{name} says that it is {width}×{height} pixels: there is no picture.")
    if width * height > max_pixels:
        raise Rejected(
            RejectReason.TOO_LARGE,
            f"{name} says that it is {width}×{height} pixels, {width * height / 1e6:.1f} megapixels; "
            f"at most {max_pixels / 1e6:g} are allowed.",
        )


def check_frames(name: str, width: int, height: int, frames: int, max_pixels: int) -> None:
    """Raise Rejected(TOO_LARGE) unless so many frames of this size may be decoded."""
    if width * height * frames > max_pixels:
        raise Rejected(
            RejectReason.TOO_LARGE,
            f"{name} has {frames} frames of {width}×{height} pixels, {width * height * frames / 1e6:.0f} megapixels "
            f"together; at most {max_pixels / 1e6:g} are allowed. Cut it into shorter parts.",
        )


def check_pages(name: str, sizes: Sequence[tuple[int, int]], max_pixels: int) -> None:
    """Raise Rejected(TOO_LARGE) unless pages of these (width, height) may be worked off, one after the other."""
    together = sum(width * height for width, height in sizes)
    if together > _PAGES_TOGETHER * max_pixels:
        raise Rejected(
            RejectReason.TOO_LARGE,
            f"{name} has {len(sizes)} pages of {together / 1e6:.0f} megapixels together; at most "
            f"{_PAGES_TOGETHER * max_pixels / 1e6:g} are allowed. Cut it into several files.",
        )


def check_output(name: str, width: int, height: int, format: str) -> None:
    """Raise Rejected(RESULT_TOO_LARGE) unless `format` can hold a picture of this size."""
    side = _LARGEST_SIDE[format]
    fits = max(width, height) <= side
    limit = f"ends at {side} pixels a side"
    if format == "BMP" and bmp.file_size(width, height, 4) > bmp.LARGEST_FILE:
        fits, limit = False, "ends at 4 GB"
    if not fits:
        raise Rejected(
            RejectReason.RESULT_TOO_LARGE,
            f"{name} would become {width}×{height} pixels, and {format} {limit}. Ask for PNG or TIFF.",
        )
