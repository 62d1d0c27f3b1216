"""Tiles are as large as the device likes them; what it does not hold is begun again in smaller ones."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.devices import OF_A_CPU, Portion, least_memory, of_a_gpu
from workers.enhance import Limits, enhance_file
from workers.folder import enhance_all, pairs
from workers.model import load
from workers.rejects import RejectReason

GIB = 1 << 30


def test_the_smallest_gpu_counts():
    assert least_memory("24564\n16384\n") == 16384 << 20
    assert least_memory("") == least_memory("[N/A]\n") == 0


@pytest.mark.parametrize(
    ("memory", "tile", "pixels"), [(0, 384, 330_000), (16 * GIB, 768, 1_048_576), (80 * GIB, 768, 5_242_880)]
)
def test_a_gpu_gets_more_the_more_memory_it_has(memory: int, tile: int, pixels: int):
    portion = of_a_gpu(memory)
    assert (portion.tile, portion.batch_pixels) == (tile, pixels)


def test_what_the_device_of_a_model_likes_is_what_it_gets():
    upscaler = load("fast")
    limits = Limits.of(upscaler)
    assert Portion(limits.tile, limits.batch_pixels, limits.steps or (0, 0)) == upscaler.portion == OF_A_CPU


class Cramped:
    """Repeats each pixel; its memory does not hold more than so many at once."""

    scale, halo, name = 2, 3, "cramped"

    def __init__(self, most: int) -> None:
        self.most = most
        self.portion = OF_A_CPU
        self.seen: list[int] = []

    def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen.append(tiles[..., 0].size)
        if self.seen[-1] > self.most:
            raise MemoryError(f"{len(tiles)} tiles are too many for the GPU")
        return tiles.repeat(2, axis=1).repeat(2, axis=2)


@pytest.mark.parametrize("most", [120 * 120, 300 * 300])
def test_an_image_is_begun_again_until_its_tiles_fit_and_none_is_wrong(tmp_path: Path, most: int):
    pixels = np.random.default_rng(3).integers(0, 256, (450, 700, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    cramped = Cramped(most)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", cramped)
    result = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(result, pixels.repeat(2, axis=0).repeat(2, axis=1))
    assert cramped.seen[0] > most


def test_what_does_not_even_fit_in_small_tiles_is_rejected_with_the_reason_and_the_others_go_on(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name, side in (("large", 300), ("small", 20)):
        Image.new("RGB", (side, side), (10, 200, 30)).save(tmp_path / "in" / f"{name}.png")
    ended = {one.pair.name: one for one in enhance_all(pairs(tmp_path / "in", tmp_path / "out"), Cramped(30 * 30))}
    assert ended["small.png"].enhanced is not None
    rejected = ended["large.png"].rejected
    assert rejected is not None
    assert rejected.reason is RejectReason.TOO_LARGE
    assert "memory of this machine does not hold it" in rejected.message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.png"]


def test_what_else_is_in_hand_changes_no_byte(tmp_path: Path):
    upscaler = load("fast")
    random = np.random.default_rng(8)
    (tmp_path / "in").mkdir()
    for number in range(8):
        height, width = random.integers(30, 140, 2)
        noise = random.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "in" / f"{number}.{'png' if number % 2 else 'jpg'}")
    todo = pairs(tmp_path / "in", tmp_path / "together")
    assert all(one.enhanced for one in enhance_all(todo, upscaler))
    for pair in todo:
        alone = tmp_path / f"alone-{pair.target.name}"
        enhance_file(pair.source, alone, upscaler)
        assert alone.read_bytes() == pair.target.read_bytes()
