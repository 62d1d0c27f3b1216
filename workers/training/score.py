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


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    """Luma of uint8 (h, w, 3), whole numbers in 16..235: ITU-R BT.601 as MATLAB's `rgb2ycbcr` rounds it."""
    weights: npt.NDArray[np.float64] = np.array([65.481, 128.553, 24.966]) / 255
    return np.round(picture @ weights + 16.0)
