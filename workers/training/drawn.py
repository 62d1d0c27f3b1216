"""Draws what the licensed pictures lack: cel-shaded figures with fine lines, and small text as a screen shows it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

#: Figures are drawn so many times larger and reduced, which gives their edges all shades in between.
_FINER = 3
_LETTERS = "eeeeeetttaaaooiinnsshhrrddllucmfwygpbvk"


def drawings(count: int, side: int, seed: int) -> Sequence[Picture]:
    """`count` pictures, uint8 (side, side, 3): figures and pages of text in turns. The same seed draws the same."""
    random = np.random.default_rng([seed, side])
    return [(_figures, _page)[number % 2](side, random) for number in range(count)]


def _figures(side: int, random: np.random.Generator) -> Picture:
    large = side * _FINER
    image = Image.new("RGB", (large, large), _colour(random))
    pen = ImageDraw.Draw(image)
    ink = _shade(_colour(random), 0.25)
    for _ in range(int(random.integers(14, 40))):
        colour = _colour(random)
        centre, size = random.uniform(0, large, 2), float(np.exp(random.uniform(np.log(0.02), np.log(0.35)))) * large
        outline = _blob(centre, size, random)
        pen.polygon(outline, fill=colour)
        _shadow(image, outline, _shade(colour, random.uniform(0.6, 0.9)), random)
        for _ in range(int(random.integers(0, 7))):
            _strand(pen, centre, size, _shade(colour, random.uniform(0.3, 1.3)), random)
        if random.random() < 0.85:
            width = int(random.integers(2, 3 + int(min(4 * _FINER, 0.1 * size))))
            pen.line([*outline, outline[0]], fill=ink, width=width, joint="curve")
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _page(side: int, random: np.random.Generator) -> Picture:
    paper, ink = _colour(random), _colour(random)
    while sum(abs(a - b) for a, b in zip(paper, ink, strict=True)) < 200:
        paper, ink = _colour(random), _colour(random)
    image = Image.new("RGB", (side, side), paper)
    pen = ImageDraw.Draw(image)
    top = float(random.uniform(0, 12))
    while top < side:
        size = float(np.exp(random.uniform(np.log(8), np.log(34))))
        left = float(random.uniform(-10, 60))
        if random.random() < 0.15:
            pen.rectangle(
                (int(left), int(top), int(left + random.uniform(20, side)), int(top + size)), fill=_colour(random)
            )
        shown = ink if random.random() < 0.7 else _colour(random)
        place = (round(left), round(top)) if random.random() < 0.7 else (left, top)
        pen.text(place, _words(int(2.2 * side / size), random), fill=shown, font=ImageFont.load_default(size))
        top += size * float(random.uniform(1.0, 1.6))
    return np.asarray(image)


def _words(length: int, random: np.random.Generator) -> str:
    text = ""
    while len(text) < length:
        word = "".join(random.choice(list(_LETTERS), int(random.integers(1, 10))))
        text += (word, word.capitalize(), word.upper(), str(random.integers(9999)))[
            random.choice(4, p=(0.6, 0.2, 0.1, 0.1))
        ] + " "
    return text


def _colour(random: np.random.Generator) -> Colour:
    if random.random() < 0.15:
        grey = int(random.choice((0, 20, 235, 255)))
        return grey, grey, grey
    middle, vivid = random.uniform(40, 230), random.uniform(0.1, 1)
    red, green, blue = (int(middle + vivid * (value - middle)) for value in random.integers(0, 256, 3))
    return red, green, blue


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(value * factor)) for value in colour)
    return red, green, blue


def _blob(centre: npt.NDArray[np.float64], size: float, random: np.random.Generator) -> list[tuple[float, float]]:
    """A closed smooth line around `centre`: a circle whose radius is a short sum of waves."""
    angle = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    radius = size * (
        1 + sum(random.normal(0, 0.35 / n) * np.cos(n * angle + random.uniform(0, 7)) for n in range(1, 7))
    )
    stretch = random.uniform(0.4, 1.6)
    x, y = centre[0] + radius * np.cos(angle) * stretch, centre[1] + radius * np.sin(angle) / stretch
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _shadow(
    image: Image.Image, outline: list[tuple[float, float]], colour: Colour, random: np.random.Generator
) -> None:
    """Darken the part of a figure that its own shape, moved aside, does not cover."""
    figure, light = (Image.new("1", image.size) for _ in range(2))
    ImageDraw.Draw(figure).polygon(outline, fill=1)
    dx, dy = random.uniform(-0.06, 0.06, 2) * image.width
    ImageDraw.Draw(light).polygon([(x + dx, y + dy) for x, y in outline], fill=1)
    dark = Image.fromarray(np.asarray(figure) & ~np.asarray(light))
    image.paste(colour, mask=dark)


def _strand(
    pen: ImageDraw.ImageDraw, centre: npt.NDArray[np.float64], size: float, colour: Colour, random: np.random.Generator
) -> None:
    """A few thin parallel curves, as hair and folds are drawn."""
    t = np.linspace(0, 1, 40)[:, None]
    first, second, third = (centre + random.normal(0, size, 2) for _ in range(3))
    curve = (1 - t) ** 2 * first + 2 * t * (1 - t) * second + t**2 * third
    apart, width = random.normal(0, 0.06 * size, 2), int(random.integers(1, 2 * _FINER))
    for number in range(int(random.integers(1, 6))):
        pen.line([tuple(point) for point in (curve + number * apart).tolist()], fill=colour, width=width, joint="curve")
