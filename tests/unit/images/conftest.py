"""Two stand-ins for a model: one whose results can be foretold exactly, one that sees its surroundings."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """Repeats each pixel: what comes out is known without any network. Its halo is claimed, not needed."""

    scale: int = 2
    halo: int = 3

    def __call__(self, tiles: Floats) -> Floats:
        return tiles.repeat(self.scale, axis=1).repeat(self.scale, axis=2)


@dataclass(frozen=True)
class Seeing:
    """A fixed network in numpy that sees `halo` pixels far, and pads with zeros as networks do.

    It is no smoothing alone: it has a threshold and its channels mix, so a wrong neighbour shows.
    """

    scale: int = 2
    halo: int = 3

    def __call__(self, tiles: Floats) -> Floats:
        near, far = tiles, tiles
        for _ in range(self.halo):
            padded = np.pad(far, ((0, 0), (1, 1), (1, 1), (0, 0)))
            far = (padded[:, :-2, 1:-1] + 2 * padded[:, 1:-1, :-2] + 3 * padded[:, 2:, 2:]) / 6
        bent = np.where(far > 0.5, far, 1.5 * far[..., [1, 2, 0]])
        steps = [np.clip(near + (part + 1) * 0.2 * (near - bent), 0, 1) for part in range(self.scale**2)]
        count, height, width, bands = tiles.shape
        grid = np.stack(steps, axis=3).reshape(count, height, width, self.scale, self.scale, bands)
        shuffled: Floats = grid.transpose(0, 1, 3, 2, 4, 5).reshape(
            count, height * self.scale, width * self.scale, bands
        )
        return shuffled.astype(np.float32)


@pytest.fixture
def nearest() -> Nearest:
    return Nearest()


@pytest.fixture
def seeing() -> type[Seeing]:
    return Seeing


@pytest.fixture
def shared() -> Path:
    """The data beside a checkout for development; where it is not, tests that need it are skipped."""
    folder = Path(__file__).parents[3].parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of shared data is not beside this checkout")
    return folder


@pytest.fixture
def chunk() -> Callable[[bytes, bytes], bytes]:
    """Makes a PNG chunk of our own, to build files that no encoder would write."""

    def make(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return make


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    """40×52 pixels of four bands in which no two neighbours and no two bands look alike."""
    return np.random.default_rng(7).integers(0, 256, (40, 52, 4), dtype=np.uint8)
