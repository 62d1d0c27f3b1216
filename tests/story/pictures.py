"""Pictures that tests draw themselves: smooth colours with edges, and no two alike."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw(path: Path, width: int, height: int, seed: int, **options: object) -> Path:
    """A picture with gradients, edges and a little noise; the same for the same seed, whatever the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(width, height, seed)).save(path, **options)  # type: ignore[arg-type]
    return path


def pixels(width: int, height: int, seed: int) -> np.ndarray:
    """The picture as uint8 (height, width, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [np.sin(x * fx + y * fy + p) for fx, fy, p in random.uniform(0.01, 0.2, (3, 3))]
    edges = ((x // 17 + y // 23 + seed) % 2)[..., None] * 40
    return (
        (np.stack(waves, -1) * 70 + 110 + edges + random.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)
    )


def album(folder: Path, images: int, width: int = 480, height: int = 320) -> Path:
    """A folder with so many numbered PNG pictures, a few of them in sub folders."""
    for number in range(images):
        place = folder / f"day-{number % 3}" if number % 3 else folder
        draw(place / f"picture-{number:03d}.png", width, height, seed=number)
    return folder
