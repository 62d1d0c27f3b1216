"""Scores a model as papers do, so that our numbers can be laid beside theirs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.training import bicubic
from workers.training.crops import Picture, compressed, read_picture
from workers.training.recipe import TrainingError

Pictures = npt.NDArray[np.float32]

#: Takes float32 (1, h, w, 3) in [0, 1] and gives it back enlarged.
Enlarger = Callable[[Pictures], Pictures]


def score_folder(enlarge: Enlarger, folder: Path, scale: int, jpeg_quality: int | None = None) -> Mapping[str, float]:
    """Luma PSNR in dB of every PNG in a folder, by file name; raises TrainingError when there is none."""
    pictures = {path.name: read_picture(path) for path in sorted(folder.glob("*.png"))}
    if not pictures:
        raise TrainingError(f"There is no PNG picture to score with in {folder}.")
    return {name: score(enlarge, picture, scale, jpeg_quality) for name, picture in pictures.items()}


def score(enlarge: Enlarger, original: Picture, scale: int, jpeg_quality: int | None = None) -> float:
    """Luma PSNR in dB after shrinking uint8 (h, w, 3) and enlarging it again, both rounded to 8 bits.

    With `jpeg_quality` the small picture is saved as JPEG before it is enlarged, its colour halved.
    """
    height, width = (side - side % scale for side in original.shape[:2])
    original = original[:height, :width]
    small = bicubic.shrink(original, scale)
    if jpeg_quality is not None:
        small = compressed(small, jpeg_quality, halved_colour=True)
    enlarged = enlarge(small[None].astype(np.float32) / np.float32(255))[0]
    return luma_psnr(bicubic.to_8_bits(enlarged * np.float32(255)), original, border=scale)


def luma_psnr(ours: Picture, original: Picture, border: int) -> float:
    """Peak signal-to-noise ratio of luma in dB, with `border` pixels cut on each side, the peak being 255."""
    error = (luma(ours) - luma(original))[border:-border, border:-border]
    mean = float(np.mean(np.square(error)))
    return float("inf") if mean == 0 else float(10 * np.log10(255**2 / mean))


def luma_ssim(ours: Picture, original: Picture, border: int) -> float:
    """Structural similarity of luma, 1 being equal, with `border` pixels cut on each side.

    Wang et al. 2004: local means, variances and covariance under a Gaussian of 11×11 pixels with a standard
    deviation of 1.5, K1 = 0.01, K2 = 0.03, the peak being 255, averaged over all places where the window fits.
    """
    x, y = (luma(picture)[border:-border, border:-border] for picture in (ours, original))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(np.mean(likeness * (2 * covariance + c2) / (variances + c2)))


def _blurred(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The Gaussian-weighted mean around each pixel of (h, w) whose 11×11 window lies inside."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    for axis in (0, 1):
        places = plane.shape[axis] - 10
        windows = (np.take(plane, np.arange(first, first + places), axis) for first in range(11))
        plane = sum(weight * window for weight, window in zip(weights / weights.sum(), windows, strict=True))
    return plane


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    """Luma of uint8 (h, w, 3), whole numbers in 16..235: ITU-R BT.601 as MATLAB's `rgb2ycbcr` rounds it."""
    weights: npt.NDArray[np.float64] = np.array([65.481, 128.553, 24.966]) / 255
    return np.round(picture @ weights + 16.0)
