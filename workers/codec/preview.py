"""Small pictures for the report: what a browser shows must look as the image does, whatever its colours
are."""

from pathlib import Path
from typing import Any

from workers.codec.canvas import as_image
from workers.codec.fitting import on_white, to_8_bits, to_srgb
from workers.codec.orientation import turned
from workers.codec.picture import Colour, Picture, Pixels

_QUALITY = 88


def save_preview(pixels: Pixels, picture: Picture, path: Path) -> None:
    """Write `pixels`, a crop (height, width, bands) of `picture`'s kind, as an upright sRGB JPEG without
    alpha."""
    image: Any = as_image(turned(pixels, picture.metadata.orientation), picture)
    if picture.metadata.icc is not None or picture.colour is Colour.CMYK:
        image = to_srgb(image, picture)
    if picture.alpha:
        image = on_white(image)
    if picture.depth == 16:
        image = to_8_bits(image)
    data: bytes = image.jpegsave_buffer(Q=_QUALITY, optimize_coding=True, subsample_mode="off", keep="none")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
