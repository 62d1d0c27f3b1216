"""Edges of transparent pictures have no fringes, and what was invisible or opaque stays exactly so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.enhance import enhance_file

_RED, _GREEN = (220, 30, 20), (0, 255, 0)


def _disc(side: int = 64) -> NDArray[np.uint8]:
    """A red disc with a soft edge; everything invisible is green underneath."""
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip(20.5 - np.hypot(down, across), 0, 1) * 255
    picture = np.empty((side, side, 4), np.uint8)
    picture[..., 3] = np.rint(alpha)
    picture[..., :3] = np.where(picture[..., 3:] > 0, _RED, _GREEN)
    return picture


@pytest.mark.parametrize("halo", [1, 3, 12])
def test_a_red_disc_on_hidden_green_gets_no_green_edge(tmp_path: Path, seeing: Any, halo: int) -> None:
    Image.fromarray(_disc(), "RGBA").save(tmp_path / "disc.png")
    red = np.empty((64, 64, 4), np.uint8)
    red[:] = (*_RED, 255)
    Image.fromarray(red, "RGBA").save(tmp_path / "red.png")
    enhance_file(tmp_path / "disc.png", tmp_path / "disc2.png", seeing(2, halo))
    enhance_file(tmp_path / "red.png", tmp_path / "red2.png", seeing(2, halo))
    disc = np.asarray(Image.open(tmp_path / "disc2.png")).astype(int)
    plain = np.asarray(Image.open(tmp_path / "red2.png")).astype(int)
    visible = disc[..., 3] > 0
    assert visible.any()
    # The network itself may change a plain red, but the disc must be of that same red all over.
    assert np.abs(disc - plain)[visible][:, :3].max() <= 1


@pytest.mark.parametrize("format", ["png", "webp", "tif"])
def test_what_was_invisible_or_opaque_stays_exactly_so(tmp_path: Path, format: str) -> None:
    class Blurring:
        """Left alone it would make soft what lies two pixels from an edge."""

        scale, halo = 2, 3

        def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            rows = sum(np.roll(tiles, step, axis=1) for step in range(-2, 3)) / 5
            blurred: NDArray[np.float32] = sum(np.roll(rows, step, axis=2) for step in range(-2, 3)) / 5
            return blurred.repeat(2, axis=1).repeat(2, axis=2)

    picture = _disc()
    Image.fromarray(picture, "RGBA").save(tmp_path / "in.png")
    enhance_file(tmp_path / "in.png", tmp_path / f"out.{format}", Blurring())
    result = np.asarray(Image.open(tmp_path / f"out.{format}").convert("RGBA"))[..., 3]
    for level in (0, 255):
        inside = picture[..., 3] == level
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):  # with all eight neighbours alike
            same = np.roll(picture[..., 3] == level, (down, across), (0, 1))
            inside = inside & same & np.roll(picture[..., 3] == level, (-down, -across), (0, 1))
        assert (result[inside.repeat(2, axis=0).repeat(2, axis=1)] == level).all()


def test_a_picture_that_is_all_invisible_has_one_colour(tmp_path: Path, seeing: Any) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (30, 30, 4), dtype=np.uint8)
    picture[..., 3] = 0
    Image.fromarray(picture, "RGBA").save(tmp_path / "in.png")
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", seeing(2, 3))
    assert not np.asarray(Image.open(tmp_path / "out.png")).any()


def test_transparent_parts_become_white_in_a_jpeg_and_a_note_says_so(tmp_path: Path, nearest: Any) -> None:
    Image.fromarray(_disc(), "RGBA").save(tmp_path / "in.png")
    result = enhance_file(tmp_path / "in.png", tmp_path / "out.jpg", nearest)
    pixels = np.asarray(Image.open(tmp_path / "out.jpg"))
    assert (pixels[:8, :8] > 250).all()
    assert np.abs(pixels[64, 64].astype(int) - _RED).max() < 6
    assert any("white" in note for note in result.notes)
