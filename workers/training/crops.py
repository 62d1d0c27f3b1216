"""Holds the training pictures in memory and cuts patches from them: reading files would starve the cores."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.training import bicubic
from workers.training.drawn import drawings
from workers.training.recipe import Recipe, TrainingError

Picture = npt.NDArray[np.uint8]

#: How many pictures we draw ourselves, and how wide and high.
_DRAWN, _DRAWN_SIDE = 200, 384

#: Part of the JPEGs whose colour has half the resolution, as most programs write them.
_HALVED_COLOUR = 0.75


@dataclass(frozen=True)
class Pair:
    """A picture, uint8 (h * scale, w * scale, 3), and the same picture made small, (h, w, 3)."""

    small: Picture
    large: Picture


@dataclass(frozen=True)
class Crops:
    """What to train on, one list per kind (a folder of photos, a folder of drawings), and what to test on."""

    kinds: tuple[tuple[Pair, ...], ...]
    held_out: tuple[Pair, ...]
    #: Pictures that we drew ourselves (see `drawn`).
    drawn: tuple[Pair, ...] = ()


def load_crops(data: Path, recipe: Recipe) -> Crops:
    """Read every PNG in the folders of `data` (each folder is one kind), or in `data` itself.

    Held out are `recipe.held_out` pictures of each kind, evenly spread over the sorted names; a kind with
    fewer than twice as many gives none. Raises TrainingError when there is nothing to train on.
    """
    try:
        folders = sorted(path for path in data.iterdir() if path.is_dir()) or [data]
        files = {folder: sorted(folder.glob("*.png")) for folder in folders}
    except OSError as error:
        raise TrainingError(f"The training data {data} cannot be read: {error.strerror}.") from error
    kinds, held_out = [], []
    for paths in filter(None, files.values()):
        pictures = [picture for path in paths if _is_large_enough(picture := read_picture(path), recipe)]
        kept_aside = recipe.held_out if len(pictures) >= 2 * recipe.held_out else 0
        spread = {int(i) for i in np.linspace(0, len(pictures) - 1, kept_aside)}
        kept = (picture for i, picture in enumerate(pictures) if i not in spread)
        kinds.append(tuple(_pair(size, recipe) for picture in kept for size in _sizes(picture, recipe)))
        held_out += [_held_out(pictures[i], recipe) for i in sorted(spread)]
    if not any(kinds):
        raise TrainingError(
            f"There is nothing to train on in {data}: it must hold PNG pictures, or one folder of "
            f"them per kind, each at least {recipe.patch * recipe.scale} pixels wide and high."
        )
    ours = drawings(_DRAWN if recipe.drawn_share else 0, max(_DRAWN_SIDE, recipe.patch * recipe.scale), recipe.seed)
    return Crops(tuple(filter(None, kinds)), tuple(held_out), tuple(_pair(picture, recipe) for picture in ours))


def _is_large_enough(picture: Picture, recipe: Recipe) -> bool:
    return bool(min(picture.shape[:2]) >= recipe.patch * recipe.scale)


def _sizes(picture: Picture, recipe: Recipe) -> Iterator[Picture]:
    """The picture, and the same picture reduced, where patches can still be cut from it."""
    yield picture
    for size in recipe.also_reduced_to:
        if _is_large_enough(reduced := bicubic.resize(picture, size), recipe):
            yield reduced


def _pair(large: Picture, recipe: Recipe) -> Pair:
    height, width = (side - side % recipe.scale for side in large.shape[:2])
    large = np.ascontiguousarray(large[:height, :width])
    return Pair(bicubic.shrink(large, recipe.scale), large)


def _held_out(picture: Picture, recipe: Recipe) -> Pair:
    """A pair to score with, compressed with the middle of the qualities, so that the curve is smooth."""
    pair = _pair(picture, recipe)
    if not recipe.jpeg_quality:
        return pair
    return Pair(compressed(pair.small, sum(recipe.jpeg_quality) // 2, halved_colour=True), pair.large)


def compressed(picture: Picture, quality: int, *, halved_colour: bool) -> Picture:
    """What is left of uint8 (h, w, 3) after it was saved as JPEG, as libjpeg does it at `quality` (1 to 100)."""
    file = io.BytesIO()
    subsampling = "4:2:0" if halved_colour else "4:4:4"
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        return np.asarray(image)


def read_picture(path: Path) -> Picture:
    """Read a picture of 8 bits as uint8 (h, w, 3), on white where it is transparent; raises TrainingError."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise TrainingError(f"{path} has more than 8 bits per colour; reduce it to 8 to train on it.")
            seen = image.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{path} cannot be read as a picture: {error}.") from error
    white = Image.new("RGBA", seen.size, "white")
    white.alpha_composite(seen)
    return np.asarray(white.convert("RGB"))


def cut_batch(crops: Crops, recipe: Recipe, step: int) -> tuple[Picture, Picture]:
    """The patches of one step: uint8 (batch, patch, patch, 3), and the same ones `scale` times larger.

    The kinds take turns, so each has the same share however many pictures it has. The same recipe and step
    always give the same patches: a resumed training needs no state but the step.
    """
    random = np.random.default_rng([recipe.seed, step])
    ours = round(recipe.drawn_share * recipe.batch)
    sources = [crops.drawn if i < ours else crops.kinds[i % len(crops.kinds)] for i in range(recipe.batch)]
    chosen = [_cut(source, recipe, random) for source in sources]
    return np.stack([pair.small for pair in chosen]), np.stack([pair.large for pair in chosen])


def _cut(pairs: tuple[Pair, ...], recipe: Recipe, random: np.random.Generator) -> Pair:
    pair = max((_place(pairs, recipe, random) for _ in range(recipe.candidates)), key=_detail)
    turns, mirror = int(random.integers(4)), bool(random.integers(2))
    small, large = (np.rot90(picture, turns) for picture in (pair.small, pair.large))
    if mirror:
        small, large = small[:, ::-1], large[:, ::-1]
    if recipe.jpeg_quality:
        quality = int(random.integers(min(recipe.jpeg_quality), max(recipe.jpeg_quality) + 1))
        small = compressed(np.ascontiguousarray(small), quality, halved_colour=random.random() < _HALVED_COLOUR)
    return Pair(small, large)


def _place(pairs: tuple[Pair, ...], recipe: Recipe, random: np.random.Generator) -> Pair:
    pair = pairs[random.integers(len(pairs))]
    top, left = (int(random.integers(side - recipe.patch + 1)) for side in pair.small.shape[:2])
    small, large = (
        picture[top * k : (top + recipe.patch) * k, left * k : (left + recipe.patch) * k]
        for picture, k in ((pair.small, 1), (pair.large, recipe.scale))
    )
    return Pair(small, large)


def _detail(pair: Pair) -> float:
    """How much neighbouring pixels differ; the green channel tells enough."""
    green = pair.small[..., 1].astype(np.int16)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())
