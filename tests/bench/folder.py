"""Photographs from file to file against the bare model on arrays that lie in memory, in the same process."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.bench.table import show
from workers.folder import enhance_all, pairs
from workers.model import Upscaler, load
from workers.tiling import mirrored, plain_line

KODAK = Path(__file__).parents[2].parent / "shared" / "data" / "bench" / "Kodak"
REPEATS = 3
Floats = NDArray[np.float32]


def measure() -> None:
    """Print images per second of both, and their ratio."""
    originals = sorted(KODAK.glob("*.png"))
    if not originals:
        print(f"bench 'folder' is skipped: the Kodak photographs are not in {KODAK}")
        return
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as name:
        root = Path(name)
        arrays = [_halved(original, root / "in") for original in originals]
        upscaler = load("fast")
        ways: dict[str, Callable[[int], object]] = {
            "model on whole images": lambda _: [upscaler(array) for array in arrays],
            "model on the same tiles": lambda _: [upscaler(tiles) for array in tiled for tiles in array],
            "spotlift enhance": lambda turn: list(enhance_all(pairs(root / "in", root / f"out-{turn}"), upscaler)),
        }
        tiled = [_tiles(array, upscaler) for array in arrays]
        for way in ways.values():
            way(-1)  # the first time sets up the network for each shape
        seconds = {name: [] for name in ways}
        for turn in range(REPEATS):
            for name, way in ways.items():
                began = time.perf_counter()
                way(turn)
                seconds[name].append(time.perf_counter() - began)
    base = median(seconds["model on whole images"])
    rows = [
        (name, len(arrays) / median(took), median(took) / base, f"{min(took):.2f} to {max(took):.2f}")
        for name, took in seconds.items()
    ]
    title = f"{len(arrays)} photographs of {arrays[0].shape[2]} × {arrays[0].shape[1]} pixels, median of {REPEATS}"
    show(title, ("", "images/s", "time, model = 1", "seconds"), rows)


def _halved(original: Path, folder: Path) -> Floats:
    """Save the photograph at half its size, upright or not as it is; float32 (1, h, w, 3) in [0, 1]."""
    folder.mkdir(exist_ok=True)
    with Image.open(original) as image:
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    half.save(folder / original.name)
    return np.asarray(half, np.float32)[None] / 255


def _tiles(array: Floats, upscaler: Upscaler) -> list[Floats]:
    """What enhance_file gives the network for this image, with its margins, in the same groups."""
    _, height, width, _ = array.shape
    portion = upscaler.portion
    rows = plain_line(height, portion.tile, upscaler.halo, portion.steps[0])
    columns = plain_line(width, portion.tile, upscaler.halo, portion.steps[1])
    together = max(1, portion.batch_pixels // (rows.size * columns.size))
    groups = []
    for top in rows.windows:
        window = array[0][mirrored(top, top + rows.size, height)]
        tiles = [window[:, mirrored(left, left + columns.size, width)] for left in columns.windows]
        groups += [np.stack(tiles[at : at + together]) for at in range(0, len(tiles), together)]
    return groups
