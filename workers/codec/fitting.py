"""Some formats cannot hold what the image has: this changes as little as the wished format demands, and
says what."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyvips

from workers.codec.picture import Colour, Metadata, Picture

_CMYK = {"JPEG", "TIFF"}
_ALPHA = {"PNG", "WEBP", "TIFF", "BMP", "GIF"}
_SIXTEEN_BITS = {"PNG", "TIFF"}
_GREY = {"PNG", "JPEG", "TIFF", "BMP", "GIF"}
_PROFILE = {"PNG", "JPEG", "TIFF", "WEBP"}


def fitted(image: Any, picture: Picture, format: str) -> tuple[Any, Metadata, tuple[str, ...]]:
    """The libvips `image`, of `picture`'s kind, as `format` can hold it; the metadata that is still true;
    notes."""
    metadata, notes = picture.metadata, []
    gamma = _own_gamma(metadata)
    if gamma is not None and format != "PNG" and metadata.icc is None:
        image = _with_gamma_of_srgb(image, gamma, picture.alpha)
        notes.append(f"Brightness was converted from the PNG's own gamma to that of sRGB, as {format} cannot hold it.")
    if picture.colour is Colour.CMYK and format not in _CMYK:
        image, metadata = to_srgb(image, picture), replace(metadata, icc=None)
        notes.append(f"CMYK was converted to sRGB, as {format} cannot hold it.")
    elif metadata.icc is not None and (
        format not in _PROFILE or (picture.colour is Colour.GREY and format not in _GREY)
    ):
        image, metadata = to_srgb(image, picture), replace(metadata, icc=None)
        notes.append(f"Colours were converted to sRGB, as {format} cannot hold their profile.")
    if picture.alpha and format not in _ALPHA:
        image = on_white(image)
        notes.append(f"Transparent parts became white, as {format} has no transparency.")
    if picture.colour is Colour.GREY and picture.alpha and format == "BMP":
        image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")  # no BMP has grey with alpha
    if picture.depth == 16 and format not in _SIXTEEN_BITS:
        image = to_8_bits(image)
        notes.append(f"16 bits per sample became 8, as {format} cannot hold more.")
    if format == "GIF":
        notes.append("GIF holds 256 colours: where the picture has more, they were reduced.")
    return image, metadata, tuple(notes)


def to_srgb(image: Any, picture: Picture) -> Any:
    """Convert to sRGB of the same depth, by the embedded profile if there is a usable one."""
    space = "rgb16" if picture.depth == 16 else "srgb"
    fallback = "cmyk" if picture.colour is Colour.CMYK else "srgb"
    if picture.metadata.icc is not None:
        tagged = with_blob(image, "icc-profile-data", picture.metadata.icc)
        try:
            return tagged.icc_transform("srgb", embedded=True, input_profile=fallback, depth=picture.depth)
        except pyvips.Error:
            pass  # a broken profile: as if there were none
    if picture.colour is Colour.CMYK:
        return image.icc_transform("srgb", input_profile="cmyk", depth=picture.depth)
    return image.colourspace(space)


def on_white(image: Any) -> Any:
    """Lay an image with alpha on white paper."""
    top = 65535 if image.format == "ushort" else 255
    paper = [0] * 4 if image.interpretation == "cmyk" else [top] * (image.bands - 1)
    return image.flatten(background=paper, max_alpha=top).cast(image.format)


def to_8_bits(image: Any) -> Any:
    """Round 16 bits per sample to 8: 65535 becomes 255 and every step of 257 becomes one."""
    eight = {"grey16": "b-w", "rgb16": "srgb"}.get(image.interpretation, image.interpretation)
    return (image * (1 / 257)).rint().cast("uchar").copy(interpretation=eight)


def with_blob(image: Any, name: str, data: bytes) -> Any:
    """A copy of `image` with `data` attached under the name that libvips has for it."""
    copy = image.copy()
    copy.set_type(pyvips.GValue.blob_type, name, data)
    return copy


def _own_gamma(metadata: Metadata) -> float | None:
    """The exponent in a PNG's gAMA chunk, where it says something else than sRGB's and counts."""
    kinds = dict(metadata.png_chunks)
    stated = int.from_bytes(kinds.get(b"gAMA", b"")[:4], "big")
    if {b"sRGB", b"cICP", b"iCCP"} & kinds.keys() or abs(stated - 45455) <= 500:
        return None
    return stated / 100_000 if 1_000 <= stated <= 1_000_000 else None


def _with_gamma_of_srgb(image: Any, gamma: float, alpha: bool) -> Any:
    """Samples that are light to the power of `gamma`, as sRGB has them. Source: IEC 61966-2-1."""
    top = 65535 if image.format == "ushort" else 255
    light = (np.arange(top + 1) / top) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table = np.rint(encoded * top).astype(np.uint16 if top == 65535 else np.uint8)
    lookup = pyvips.Image.new_from_memory(table, top + 1, 1, 1, image.format)
    kind = image.interpretation
    if not alpha:
        return image.maplut(lookup).copy(interpretation=kind)
    colours = image.extract_band(0, n=image.bands - 1).maplut(lookup)
    return colours.bandjoin(image.extract_band(image.bands - 1)).copy(interpretation=kind)
