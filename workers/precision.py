"""How exactly a network computes: in half precision where that is much faster here and hardly changes a picture.

Only convolutions and what follows them pixel by pixel are lowered. Everything else, and so the picture that the net
adds its details to, stays in float32.
"""

import os
from collections.abc import Callable, Collection
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers import runtime

Pictures = npt.NDArray[np.float32]

VARIABLE = "SPOTLIFT_PRECISION"
#: Half precision may change the probe by so much on average (root mean square) and nowhere by more; white is 1. The
#: probe is harder than photographs, which the shipped net changes by half as much: an eighth of a step of 8 bits.
MEAN_CHANGE, LARGEST_CHANGE = 2e-3, 0.03
#: A network of fewer weights gains nothing.
LEAST_WEIGHTS = 5_000


class Precision(StrEnum):
    """What the convolutions compute in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"  # on CPUs with AMX: four times as fast
    FLOAT16 = "float16"  # on GPUs


def wished(text: str | None) -> Precision | None:
    """What a person asked for; None for `auto`, nothing, or an empty word. Raises ValueError for anything else."""
    if text in (None, "", "auto"):
        return None
    try:
        return Precision(str(text))
    except ValueError:
        known = ", ".join(("auto", *Precision))
        raise ValueError(f"there is no precision {text!r}; there are {known}") from None


def best(gpus: int, cpu_flags: Collection[str]) -> Precision:
    """The fastest one on such a computer. With AVX-512 alone bfloat16 was slower than float32: it takes AMX."""
    if gpus:
        return Precision.FLOAT16
    return Precision.BFLOAT16 if "amx_bf16" in cpu_flags else Precision.FLOAT32


def here() -> Precision:
    """What the environment asks for, or else what is the fastest on this computer."""
    gpus = len(runtime.tensorflow().config.list_physical_devices("GPU"))
    return wished(os.environ.get(VARIABLE)) or best(gpus, cpu_flags(Path("/proc/cpuinfo")))


def cpu_flags(told: Path) -> frozenset[str]:
    """The abilities of the CPU, from what Linux tells; none where there is no such file."""
    try:
        lines = told.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())


def lowered(model: Any, precision: Precision) -> Any | None:
    """A copy of the Keras model with its convolutions in half precision; None where that is not to be had."""
    if precision is Precision.FLOAT32 or model.count_params() < LEAST_WEIGHTS:
        return None
    keras = runtime.keras()
    layers = keras.layers
    convolutions = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.SeparableConv2D)
    kinds = (*convolutions, layers.LeakyReLU, layers.ReLU, layers.PReLU)

    def copied(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, kinds):
            config["dtype"] = f"mixed_{precision}"
        return type(layer).from_config(config)

    try:
        copy = keras.models.clone_model(model, clone_function=copied)
        copy.set_weights(model.get_weights())
    except Exception:  # noqa: BLE001 - a strange network may fail to be copied in any way: it runs as it is then
        return None
    return copy


def agree(exact: Callable[[Pictures], Pictures], quick: Callable[[Pictures], Pictures]) -> bool:
    """Whether both draw the same picture, as far as anybody will ever see."""
    probe = _probe()
    with np.errstate(all="ignore"):
        change = np.abs(exact(probe) - quick(probe))
        # What is not a number agrees with nothing.
        return bool(np.sqrt(np.mean(change**2)) <= MEAN_CHANGE and change.max() <= LARGEST_CHANGE)


def _probe() -> Pictures:
    """Slopes, edges and noise, from black to white: float32 (1, 64, 64, 3)."""
    random = np.random.default_rng(1)
    slope = np.linspace(0, 1, 32, dtype=np.float32)
    picture = np.empty((1, 64, 64, 3), np.float32)
    picture[0, :32, :32] = slope[:, None, None] * slope[None, ::-1, None]
    picture[0, :32, 32:] = random.random((8, 8, 3), np.float32).repeat(4, axis=0).repeat(4, axis=1)
    picture[0, 32:, :32] = (np.add.outer(np.arange(32), np.arange(32)) // 5 % 2)[..., None]
    picture[0, 32:, 32:] = random.random((32, 32, 3), np.float32)
    return picture
