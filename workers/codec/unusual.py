"""Lab, XYZ, floating-point numbers and channels beyond alpha: shown to the enhancer as 16-bit sRGB or grey.

Floating-point numbers are linear light, with 1 for white, as editors and libvips have it; with a colour profile they
mean what that says, and only their scale changes.
"""

from collections.abc import Callable
from typing import Any

from workers.codec.picture import BANDS, Colour
from workers.rejects import Rejected, RejectReason

_TO_SRGB = {"lab": "Lab", "labs": "Lab", "labq": "Lab", "lch": "LCh", "xyz": "XYZ", "yxy": "xyY", "cmc": "CMC"}
_BRIGHTEST = 16.0
"""Linear light beyond this is no picture with 1 for white, but one on another scale."""
_TOP = 65535


def usual(name: str, image: Any, colours: dict[str, Colour], again: Callable[[], Any]) -> tuple[Any, tuple[str, ...]]:
    """The libvips image as grey, RGB or CMYK with at most an alpha, where that can be told; with notes on the way.

    `colours` are the interpretations that need nothing. `again` opens the same image once more, to look for its
    brightest pixel. Raises Rejected where the scale of numbers cannot be told.
    """
    space = image.interpretation
    if space in _TO_SRGB:
        note = f"{_TO_SRGB[space]} was converted to sRGB with 16 bits per sample."
        return _without_profile(image.colourspace("rgb16")), (note,)
    notes: tuple[str, ...] = ()
    if image.format in ("float", "double") and (space == "scrgb" or space in colours):
        grey = image.bands < BANDS[Colour.RGB]
        if space == "cmyk":
            return image, ()
        notes = _brightest_told(name, again())
        image = _as_whole_numbers(image, grey)
    colour = colours.get(image.interpretation)
    if colour is not None and image.bands > BANDS[colour] + 1:
        spare = image.bands - BANDS[colour]
        image = image.extract_band(0, n=BANDS[colour])
        notes += (f"{spare} channels beside the colours were left out.",)
    return image, notes


def _brightest_told(name: str, image: Any) -> tuple[str, ...]:
    alpha = image.bands in (2, 4)
    brightest = (image.extract_band(0, n=image.bands - 1) if alpha else image).max()
    told = "Floating-point numbers became 16 bits per sample."
    if brightest <= 1.001:
        return (told,)
    if brightest <= _BRIGHTEST:
        return (f"{told} What is brighter than white was cut off (up to {brightest:.3g} times as bright).",)
    raise Rejected(
        RejectReason.UNSUPPORTED_PIXELS,
        f"{name} has floating-point numbers up to {brightest:.4g}; 1 must be white. "
        "Divide them by that of white, or save it with 16 bits per sample.",
    )


def _as_whole_numbers(image: Any, grey: bool) -> Any:
    kind = "grey16" if grey else "rgb16"
    if image.get_typeof("icc-profile-data"):
        return _scaled(image).copy(interpretation=kind)
    if not grey:
        return image.copy(interpretation="scrgb").colourspace(kind)
    level = image.extract_band(0)
    light = level.bandjoin([level, level]).copy(interpretation="scrgb").colourspace("rgb16").extract_band(0)
    if image.bands == 2:
        light = light.bandjoin(_scaled(image.extract_band(1)))
    return light.copy(interpretation=kind)


def _scaled(image: Any) -> Any:
    return (image * _TOP + 0.5).cast("ushort")


def _without_profile(image: Any) -> Any:
    copy = image.copy()
    if copy.get_typeof("icc-profile-data"):
        copy.remove("icc-profile-data")
    return copy
