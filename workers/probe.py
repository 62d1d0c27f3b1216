"""Finds out by running it what a strange network does to a picture, because a .keras file does not say.

A network here is a function from float32 (n, h, w, 3) in [0, 1] to the enlarged pictures.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.float32]
Network = Callable[[Pictures], Pictures]

#: A halo is looked for in pictures of these sides, so it is at most half the last one.
SIDES = (64, 128, 256)
#: A change in the output below this is rounding, not influence.
ROUNDING = 1e-5
#: A change in the output below this, a quarter of a step of an 8-bit picture, is never seen.
INVISIBLE = 1e-3


def scale_of(network: Network) -> int | None:
    """How many times wider and higher the output is; None if that is no whole number of two or more.

    Looked at twice, with odd sides, because a network may cut its edges or round its sizes.
    """
    scales = set()
    for height, width in ((24, 16), (23, 17)):
        out = network(np.full((1, height, width, 3), 0.5, np.float32)).shape
        scales.add((out[1] / height, out[2] / width))
    (tall, wide), *others = scales
    return int(tall) if not others and tall == wide and tall in range(2, 17) else None


def ramp() -> Pictures:
    """A smooth grey picture whose enlargement anybody can tell: float32 (1, 16, 16, 3) from 0.3 to 0.7."""
    slope = np.linspace(0.3, 0.7, 16, dtype=np.float32)
    return np.tile((slope[:, None, None] + slope[None, :, None]) / 2, (1, 1, 1, 3))


def unlikeness(enlarged: Pictures) -> float:
    """How far an enlarged `ramp()` is from the ramp, on average; infinite if it is not a picture at all."""
    scale = enlarged.shape[1] // 16
    blocks = enlarged.reshape(1, 16, scale, 16, scale, -1).mean(axis=(2, 4))
    difference = float(np.mean(np.abs(blocks - ramp())))
    return difference if np.isfinite(difference) else np.inf


def halo_of(network: Network, raw: Network, model: Any, scale: int) -> int | None:
    """Input pixels of context that the network needs on each side, so that tiles agree with the whole.

    None when every output pixel depends on the whole picture: such a network cannot work in tiles.

    It is the larger of two reaches: that of the network itself, and that of its layers with all weights made
    positive, where no influence is lost in a dead neuron or drowned by rounding. For the latter, `raw` must
    run `model` on the plain numbers, so that black is zero. A network that looks at the whole picture by
    design may still do so invisibly; then the reach of what is visible counts.
    """
    with _positive_weights(model):
        by_design = _reach(raw, scale, np.zeros((1, SIDES[-1], SIDES[-1], 3), np.float32), tolerance=0.0)
    noise = np.random.default_rng(0).random((1, SIDES[-1], SIDES[-1], 3), np.float32)
    noise *= 0.6  # dark, so that a half that is inverted is brighter as a whole too
    in_effect = _reach(network, scale, noise, INVISIBLE if by_design is None else ROUNDING)
    return in_effect if by_design is None or in_effect is None else max(by_design, in_effect)


def _reach(network: Network, scale: int, ground: Pictures, tolerance: float) -> int | None:
    """How far from a change its effect is seen, in input pixels; None if no picture is large enough."""
    for side in SIDES:
        before = ground[:, :side, :side].copy()
        plain = network(before)
        reaches = [_reach_of_half(network, before, plain, turns, scale, tolerance) for turns in range(4)]
        if max(reaches) < side // 2:  # else the edge of the picture may have ended it
            return max(reaches)
    return None


def _reach_of_half(
    network: Network, before: Pictures, plain: Pictures, turns: int, scale: int, tolerance: float
) -> int:
    """Change one half of the picture, and see how far into the other half the output changes."""
    side: int = before.shape[1]
    after = np.rot90(before, turns, axes=(1, 2)).copy()
    after[:, : side // 2] = 1 - after[:, : side // 2]
    after = np.rot90(after, -turns, axes=(1, 2)).copy()
    with np.errstate(all="ignore"):  # with positive weights infinities are allowed, and are influence
        changed = ~(np.abs(network(after) - plain) <= tolerance)
    rows = np.rot90(changed, turns, axes=(1, 2)).any(axis=(0, 2, 3))
    last = max(np.flatnonzero(rows).tolist(), default=0)
    return max(0, last // scale - side // 2 + 1)


@contextmanager
def _positive_weights(model: Any) -> Iterator[None]:
    """Give every layer weights that let all influence through and none grow weaker, for a while.

    Kernels get the same positive number everywhere, biases and means zero, factors and variances one.
    """
    weights = model.get_weights()
    paths = [weight.path.rsplit("/", 1)[-1] for weight in model.weights]
    shifts = ("bias", "beta", "moving_mean", "mean")
    try:
        model.set_weights(
            [
                np.full_like(weight, 1 / weight.shape[-2] if weight.ndim > 1 else float(name not in shifts))
                for weight, name in zip(weights, paths, strict=True)
            ]
        )
        yield
    finally:
        model.set_weights(weights)
