"""Says in one file per model how it was trained, so that anybody can train it again or change one number."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path


class TrainingError(Exception):
    """Training cannot start or go on; the message is a sentence for the person who started it."""


@dataclass(frozen=True)
class Recipe:
    """One network and the way it is trained; every number that matters for the result."""

    name: str
    #: What to begin with: shipped weights, another recipe (which is followed first), or a .keras file. That network
    #: may be narrower, less deep, or of another scale.
    begins_with: str = ""
    #: How many times wider and higher the output is.
    scale: int = 2
    #: Channels of each hidden layer.
    width: int = 32
    #: Hidden layers.
    depth: int = 8
    #: Channels inside a collapsible layer while it is trained (see `network.Collapsible`).
    expansion: int = 64
    #: Optimiser steps when no time limit is given.
    steps: int = 60_000
    #: Patches per step, half of them photos and half of them drawings.
    batch: int = 16
    #: Of so many patches the one with the most detail is taken: flat ones teach nothing.
    candidates: int = 1
    #: Sizes to which each crop is also reduced before patches are cut from it: finer detail than it has itself.
    also_reduced_to: tuple[float, ...] = ()
    #: Part of the patches that are cut from pictures that `drawn` makes: small text, cel-shaded figures.
    drawn_share: float = 0.0
    #: Lowest and highest quality with which the small patches are compressed as JPEG; none when empty.
    jpeg_quality: tuple[int, ...] = ()
    #: Width and height of a patch, in pixels of the small picture.
    patch: int = 64
    #: Adam's learning rate at its highest.
    learning_rate: float = 1e-3
    #: The part of the training in which the learning rate rises from zero.
    warm_up: float = 0.02
    #: How much the error of luma counts beside the error of red, green and blue.
    luma_weight: float = 1.0
    #: From this part of the training on the PSNR of each patch counts; before it, the mean absolute error.
    psnr_from: float = 1.0
    #: Decay per step of the moving average of the weights that is exported.
    average_decay: float = 0.999
    #: Let TensorFlow compute in bfloat16 where it is safe until this part of the training is done.
    bfloat16_until: float = 0.0
    #: Crops of each kind that are never trained on, to draw the curve of.
    held_out: int = 8
    seed: int = 1


def shipped_recipes() -> Mapping[str, Path]:
    """The recipes of the models that we ship, by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}


def recipe_for(tier: str, scale: int = 2, *, jpeg: bool = False) -> str:
    """The name of the recipe, and of the weights, of a tier: ("fast", 2, jpeg=True) -> "fast-jpeg-x2"."""
    return f"{tier}{'-jpeg' if jpeg else ''}-x{scale}"


def read_recipe(recipe: str) -> Recipe:
    """Read a shipped recipe by its name, or any other by the path of its TOML file.

    Raises TrainingError when there is no such recipe, or when a key or a value in it is wrong.
    """
    path = shipped_recipes().get(recipe, Path(recipe))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(shipped_recipes())
        raise TrainingError(
            f"There is no recipe '{recipe}'. Shipped recipes: {known}. The path of a .toml file works too."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"The recipe {path} cannot be read: {error}.") from error
    return _checked({"name": path.stem, **table}, path)


def _checked(table: dict[str, object], path: Path) -> Recipe:
    kinds = {field.name: field.type for field in fields(Recipe)}
    for key, value in table.items():
        if key not in kinds:
            raise TrainingError(f"{path} has an unknown key '{key}'. Known keys: {', '.join(kinds)}.")
        if not _fits(value, kinds[key]):
            kind = {int: "int", float: "float", str: "str"}.get(kinds[key], "list of numbers")  # type: ignore[arg-type]
            raise TrainingError(f"{path}: '{key}' is {value!r}, but must be of type {kind}.")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    recipe = Recipe(**plain)  # type: ignore[arg-type]
    for key in ("scale", "width", "depth", "expansion", "steps", "batch", "patch", "candidates"):
        least = 2 if key in ("scale", "batch") else 1
        if getattr(recipe, key) < least:
            raise TrainingError(f"{path}: '{key}' must be at least {least}, not {getattr(recipe, key)}.")
    if recipe.jpeg_quality and not (
        len(recipe.jpeg_quality) == 2 and 1 <= min(recipe.jpeg_quality) <= max(recipe.jpeg_quality) <= 100
    ):
        raise TrainingError(f"{path}: 'jpeg_quality' must be two numbers from 1 to 100, as in [30, 95].")
    if not all(0 < size < 1 for size in recipe.also_reduced_to):
        raise TrainingError(f"{path}: 'also_reduced_to' must be numbers between 0 and 1, as in [0.7, 0.5].")
    return recipe


def _fits(value: object, kind: object) -> bool:
    if isinstance(value, bool):
        return False
    if not isinstance(kind, type):  # a tuple of numbers
        return isinstance(value, list) and all(_fits(each, float) for each in value)
    return isinstance(value, (int, float) if kind is float else kind)
