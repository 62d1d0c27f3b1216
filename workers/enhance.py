"""One image from file to file: what goes in comes out, larger."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Upscaler(Protocol):
    """What enlarging needs of a model; `workers.model.Upscaler` is one."""

    @property
    def scale(self) -> int: ...
    @property
    def halo(self) -> int: ...
    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Limits:
    """How much one image may cost."""

    max_pixels: int = 300_000_000
    tile: int = 256
    batch_pixels: int = 600_000


@dataclass(frozen=True)
class Enhanced:
    """What became of an image."""

    width: int
    height: int
    out_width: int
    out_height: int
    format: str
    bytes_in: int
    bytes_out: int
    sha256: str
    seconds: float
    notes: tuple[str, ...]


def enhance_file(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    limits: Limits = Limits(),
    *,
    output_format: str | None = None,
    preview: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Enhanced:
    """Enlarge the image file `source` into the image file `target`."""
    raise NotImplementedError("being written")
