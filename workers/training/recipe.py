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
    #: Width and height of a patch, in pixels of the small picture.
    patch: int = 64
    #: Adam's learning rate at its highest.
    learning_rate: float = 1e-3
    #: The part of the training in which the learning rate rises from zero.
    warm_up: float = 0.02
    #: How much the error of luma counts beside the error of red, green and blue.
    luma_weight: float = 1.0
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
        fits = isinstance(value, (int, float) if kinds[key] is float else kinds[key])  # type: ignore[arg-type]
        if not fits or isinstance(value, bool):
            raise TrainingError(f"{path}: '{key}' is {value!r}, but must be of type {kinds[key].__name__}.")  # type: ignore[union-attr]
    recipe = Recipe(**table)  # type: ignore[arg-type]
    for key in ("scale", "width", "depth", "expansion", "steps", "batch", "patch"):
        least = 2 if key in ("scale", "batch") else 1
        if getattr(recipe, key) < least:
            raise TrainingError(f"{path}: '{key}' must be at least {least}, not {getattr(recipe, key)}.")
    return recipe
