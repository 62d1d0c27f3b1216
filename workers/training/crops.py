"""Holds the training pictures in memory and cuts patches from them: reading files would starve the cores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

from workers.training import bicubic
from workers.training.recipe import Recipe, TrainingError

Picture = npt.NDArray[np.uint8]


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
        pairs = [pair for path in paths if (pair := _pair(path, recipe))]
        kept_aside = recipe.held_out if len(pairs) >= 2 * recipe.held_out else 0
        spread = {int(i) for i in np.linspace(0, len(pairs) - 1, kept_aside)}
        kinds.append(tuple(pair for i, pair in enumerate(pairs) if i not in spread))
        held_out += [pairs[i] for i in sorted(spread)]
    if not any(kinds):
        raise TrainingError(
            f"There is nothing to train on in {data}: it must hold PNG pictures, or one folder of "
            f"them per kind, each at least {recipe.patch * recipe.scale} pixels wide and high."
        )
    return Crops(tuple(filter(None, kinds)), tuple(held_out))


def _pair(path: Path, recipe: Recipe) -> Pair | None:
    large = read_picture(path)
    height, width = (side - side % recipe.scale for side in large.shape[:2])
    if min(height, width) < recipe.patch * recipe.scale:
        return None
    large = np.ascontiguousarray(large[:height, :width])
    return Pair(bicubic.shrink(large, recipe.scale), large)


def read_picture(path: Path) -> Picture:
    """Read a picture as uint8 (h, w, 3) in sRGB, on white where transparent; raises TrainingError."""
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential").colourspace("srgb")
        picture: Picture = (image.flatten(background=255) if image.hasalpha() else image).cast("uchar").numpy()
    except pyvips.Error as error:
        raise TrainingError(f"{path} cannot be read as a picture: {error.message}.") from error
    return picture


def cut_batch(crops: Crops, recipe: Recipe, step: int) -> tuple[Picture, Picture]:
    """The patches of one step: uint8 (batch, patch, patch, 3), and the same ones `scale` times larger.

    The kinds take turns, so each has the same share however many pictures it has. The same recipe and step
    always give the same patches: a resumed training needs no state but the step.
    """
    random = np.random.default_rng([recipe.seed, step])
    chosen = [_cut(crops.kinds[i % len(crops.kinds)], recipe, random) for i in range(recipe.batch)]
    return np.stack([pair.small for pair in chosen]), np.stack([pair.large for pair in chosen])


def _cut(pairs: tuple[Pair, ...], recipe: Recipe, random: np.random.Generator) -> Pair:
    pair = pairs[random.integers(len(pairs))]
    top, left = (int(random.integers(side - recipe.patch + 1)) for side in pair.small.shape[:2])
    turns, mirror = int(random.integers(4)), bool(random.integers(2))
    small, large = (
        np.rot90(picture[top * k : (top + recipe.patch) * k, left * k : (left + recipe.patch) * k], turns)
        for picture, k in ((pair.small, 1), (pair.large, recipe.scale))
    )
    return Pair(small[:, ::-1], large[:, ::-1]) if mirror else Pair(small, large)
