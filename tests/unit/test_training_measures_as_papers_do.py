"""Shrinking, enlarging and scoring give the numbers that everybody else gets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.training import bicubic
from workers.training.crops import read_picture
from workers.training.recipe import TrainingError
from workers.training.score import luma, luma_psnr, luma_ssim, score_folder

SET5 = Path(__file__).parents[2].parent / "shared" / "data" / "bench" / "Set5"


def a_row(*values: int) -> np.ndarray:
    """A picture of eight equal rows."""
    return np.tile(np.array(values, np.uint8)[None, :, None], (8, 1, 3))


def test_an_edge_is_shrunk_with_the_antialiased_kernel() -> None:
    # By hand: the kernel at 0.5, 1.5, 2.5 and 3.5 px is .4336, .1133, -.0352 and -.0117, so the second pixel
    # sees (.1133 - .0352 - .0117) · 255 = 16.9, and the first one less than black.
    small = bicubic.shrink(a_row(0, 0, 0, 0, 255, 255, 255, 255), 2)
    np.testing.assert_array_equal(small, a_row(0, 17, 238, 255)[:4])


def test_an_edge_is_enlarged_with_the_cubic_kernel() -> None:
    # By hand: at 0.75, 1.25 and 1.75 px the kernel is .2266, -.0703 and -.0234, so the fourth pixel sees
    # (.2266 - .0234) · 200 = 40.6, and the sixth one 1.0703 · 200 = 214.
    large = bicubic.enlarge(a_row(0, 0, 200, 200), 2)
    np.testing.assert_array_equal(large[0, :, 0], [0, 0, 0, 41, 159, 214, 205, 200])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_flat_picture_stays_flat_up_to_its_mirrored_edges(scale: int) -> None:
    flat = np.full((17, 19, 3), 77, np.uint8)
    assert np.unique(bicubic.shrink(flat, scale)).tolist() == [77]
    assert bicubic.enlarge(flat, scale).shape == (17 * scale, 19 * scale, 3)
    assert np.unique(bicubic.enlarge(flat, scale)).tolist() == [77]


def test_luma_runs_from_16_to_235() -> None:
    black_white_red = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(luma(black_white_red), [[16, 235, 81]])


def test_one_step_of_error_everywhere_is_48_decibels() -> None:
    grey = np.full((20, 20, 3), 100, np.uint8)
    assert luma_psnr(grey, grey + np.uint8(1), border=2) == pytest.approx(10 * np.log10(255**2))


def test_the_border_does_not_count() -> None:
    grey = np.full((20, 20, 3), 100, np.uint8)
    framed = grey.copy()
    framed[:2], framed[-2:], framed[:, :2], framed[:, -2:] = 0, 0, 0, 0
    assert luma_psnr(framed, grey, border=2) == float("inf")
    assert luma_psnr(framed, grey, border=1) < 30


def test_bicubic_has_its_well_known_score_on_set5() -> None:
    if not SET5.is_dir():
        pytest.skip(f"the benchmark pictures are not here: {SET5}")

    def enlarge(pictures: np.ndarray) -> np.ndarray:
        return bicubic.enlarge(np.round(pictures[0] * 255).astype(np.uint8), 2)[None].astype(np.float32) / 255

    scores = score_folder(enlarge, SET5, 2)
    # Published: 33.66. It is found on luma alone; via 8-bit red, green and blue a hundredth is lost.
    assert np.mean(list(scores.values())) == pytest.approx(33.66, abs=0.015)


def test_an_input_may_be_compressed_before_it_is_enlarged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")

    def repeated(pictures: np.ndarray) -> np.ndarray:
        return pictures.repeat(2, axis=1).repeat(2, axis=2)

    clean, fair, poor = (score_folder(repeated, tmp_path, 2, quality)["noise.png"] for quality in (None, 75, 10))
    assert clean > fair > poor


def test_a_folder_without_pictures_cannot_be_scored_with(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no PNG picture to score with"):
        score_folder(lambda pictures: pictures, tmp_path, 2)


def noise(seed: int, height: int = 24, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_is_wholly_similar_to_itself() -> None:
    assert luma_ssim(noise(1), noise(1), border=2) == pytest.approx(1)


def test_similarity_is_mutual() -> None:
    forth, back = luma_ssim(noise(1), noise(2), border=2), luma_ssim(noise(2), noise(1), border=2)
    assert forth == pytest.approx(back)
    assert forth < 0.5


def test_flat_pictures_are_as_similar_as_their_brightness() -> None:
    # By hand: nothing varies, so what is left is (2ab + c1) / (a² + b² + c1) with the lumas a = 16 and b = 235.
    black, white = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert luma_ssim(black, white, border=2) == pytest.approx((2 * 16 * 235 + c1) / (16**2 + 235**2 + c1))


def test_similarity_is_what_the_formula_says_of_a_single_window() -> None:
    ours, original = noise(1, 15, 15), noise(2, 15, 15)
    x, y = (luma(picture)[2:-2, 2:-2].ravel() for picture in (ours, original))
    rows, columns = np.mgrid[-5:6, -5:6]
    weights = np.exp(-(rows**2 + columns**2) / 4.5).ravel()
    weights /= weights.sum()
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    covariances = np.cov(x, y, aweights=weights, ddof=0)
    c1, c2 = 2.55**2, 7.65**2
    expected = (
        (2 * mean_x * mean_y + c1)
        / (mean_x**2 + mean_y**2 + c1)
        * (2 * covariances[0, 1] + c2)
        / (covariances[0, 0] + covariances[1, 1] + c2)
    )
    assert luma_ssim(ours, original, border=2) == pytest.approx(expected)


def test_bicubic_has_its_well_known_similarity_on_set5() -> None:
    if not SET5.is_dir():
        pytest.skip(f"the benchmark pictures are not here: {SET5}")
    found = []
    for path in sorted(SET5.glob("*.png")):
        original = read_picture(path)
        height, width = (side // 2 * 2 for side in original.shape[:2])
        original = original[:height, :width]
        found.append(luma_ssim(bicubic.enlarge(bicubic.shrink(original, 2), 2), original, border=2))
    # Published: 0.9299.
    assert np.mean(found) == pytest.approx(0.9299, abs=0.001)
