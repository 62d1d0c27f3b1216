"""Scores a model as papers do, so that our numbers can be laid beside theirs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.training import bicubic
from workers.training.crops import Picture, read_picture

#: Takes float32 (1, h, w, 3) in [0, 1] and gives it back enlarged.
Enlarger = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def score_folder(enlarge: Enlarger, folder: Path, scale: int) -> Mapping[str, float]:
    """Luma PSNR in dB of every picture in a folder, by file name; raises TrainingError when there is none."""
    pictures = {path.name: read_picture(path) for path in sorted(folder.glob("*.png"))}
    return {name: score(enlarge, picture, scale) for name, picture in pictures.items()}


def score(enlarge: Enlarger, original: Picture, scale: int) -> float:
    """Luma PSNR in dB after shrinking uint8 (h, w, 3) and enlarging it again, both rounded to 8 bits."""
    height, width = (side - side % scale for side in original.shape[:2])
    original = original[:height, :width]
    small = bicubic.shrink(original, scale)
    enlarged = enlarge(small[None].astype(np.float32) / np.float32(255))[0]
    return luma_psnr(bicubic.to_8_bits(enlarged * np.float32(255)), original, border=scale)


def luma_psnr(ours: Picture, original: Picture, border: int) -> float:
    """Peak signal-to-noise ratio of luma in dB, with `border` pixels cut on each side, the peak being 255."""
    error = (luma(ours) - luma(original))[border:-border, border:-border]
    mean = float(np.mean(np.square(error)))
    return float("inf") if mean == 0 else float(10 * np.log10(255**2 / mean))


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    """Luma of uint8 (h, w, 3), whole numbers in 16..235: ITU-R BT.601 as MATLAB's `rgb2ycbcr` rounds it."""
    weights: npt.NDArray[np.float64] = np.array([65.481, 128.553, 24.966]) / 255
    return np.round(picture @ weights + 16.0)
