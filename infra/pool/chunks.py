"""How a batch is cut into chunks: big enough to be worth sending, small enough to lose and to share out."""

from collections.abc import Sequence
from math import ceil

from infra.records.values import NewChunk

FIRST_GUESS = 1_000_000.0
"""Input pixels per second of one machine, until a machine has shown its speed."""
MOST_IMAGES = 500
ROUNDS_PER_MACHINE = 2
"""Chunks per machine, or a little less, even in a small batch, so that machines end at about the same time."""


def cut(
    images: Sequence[tuple[str, int]],
    pixels_per_second: float | None,
    seconds: float,
    machines: int,
    most_machines: int | None = None,
) -> list[NewChunk]:
    """Cut images, given as (name, pixels) and kept in order, into chunks of about `seconds` of work each.

    `pixels_per_second` is the measured speed of one machine, None before the first measurement. A small batch is
    shared among `machines`, and among up to `most_machines` as long as there is a chunk's worth of work for each.
    """
    if not images:
        return []
    total = sum(pixels for _, pixels in images)
    usual = (pixels_per_second or FIRST_GUESS) * seconds
    machines = max(machines, min(most_machines or 0, ceil(total / usual)))
    wished = min(usual, total / (machines * ROUNDS_PER_MACHINE))
    most = min(MOST_IMAGES, max(1, ceil(len(images) / (machines * ROUNDS_PER_MACHINE))))
    chunks: list[NewChunk] = []
    names: list[str] = []
    pixels = 0
    for name, size in images:
        if names and (pixels + size > wished * 1.25 or len(names) == most):
            chunks.append(NewChunk(tuple(names), pixels))
            names, pixels = [], 0
        names.append(name)
        pixels += size
    chunks.append(NewChunk(tuple(names), pixels))
    return chunks
