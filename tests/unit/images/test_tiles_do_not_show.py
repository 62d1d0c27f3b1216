"""A picture enlarged in tiles is the picture enlarged in one piece."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from workers.enhance import Limits, enhance_file
from workers.tiling import mirrored, mirrored_line, plain_line, tiling

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.integers(1, 40),
    scale=st.integers(2, 4),
    halo=st.integers(0, 9),
    bands=st.integers(1, 4),
    seed=st.integers(0, 1000),
    batch=st.sampled_from([1, 5_000, 1_000_000]),
    steps=st.sampled_from([None, (1, 1), (1, 8), (16, 16)]),
)
def test_a_tiled_picture_is_the_untiled_one(
    tmp_path: Path,
    seeing: Any,
    height: int,
    width: int,
    tile: int,
    scale: int,
    halo: int,
    bands: int,
    seed: int,
    batch: int,
    steps: tuple[int, int] | None,
) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, bands), dtype=np.uint8)
    if bands in (2, 4):  # all, none and some of the picture invisible, in patches as real ones are
        coarse = random.choice(np.array([0, 0, 90, 255], np.uint8), (height // 9 + 1, width // 9 + 1))
        pixels[..., -1] = coarse.repeat(9, axis=0).repeat(9, axis=1)[:height, :width]
    source, whole, tiled = tmp_path / "in.png", tmp_path / "whole.png", tmp_path / "tiled.png"
    Image.fromarray(pixels.squeeze(-1) if bands == 1 else pixels, _MODES[bands]).save(source)
    upscaler = seeing(scale, halo)
    enhance_file(source, whole, upscaler, Limits(tile=1000, steps=steps))
    enhance_file(source, tiled, upscaler, Limits(tile=tile, batch_pixels=batch, steps=steps, in_memory=0))
    one = np.asarray(Image.open(whole)).astype(int)
    many = np.asarray(Image.open(tiled)).astype(int)
    assert one.shape[:2] == (height * scale, width * scale)
    assert np.abs(one - many).max() <= 1


def test_an_untiled_picture_is_one_call_of_the_network_on_the_mirrored_picture(tmp_path: Path, seeing: Any) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    upscaler = seeing(2, 4)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", upscaler)
    padded = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), mode="reflect").astype(np.float32) / 255
    expected = np.rint(upscaler(padded[None])[0, 8:-8, 8:-8] * 255)
    assert np.abs(expected - np.asarray(Image.open(tmp_path / "out.png"))).max() <= 1


def test_with_steps_the_network_sees_the_borders_as_they_are(tmp_path: Path, seeing: Any) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (21, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    upscaler = seeing(2, 4)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", upscaler, Limits(steps=(1, 8)))
    expected = np.rint(upscaler(pixels[None].astype(np.float32) / 255)[0] * 255)
    assert np.abs(expected - np.asarray(Image.open(tmp_path / "out.png"))).max() <= 1


@given(
    length=st.integers(1, 3000),
    largest=st.integers(1, 600),
    margin=st.integers(0, 40),
    step=st.sampled_from([1, 8, 64]),
)
def test_every_tile_sees_its_margin_or_the_end_of_the_line(length: int, largest: int, margin: int, step: int) -> None:
    line = plain_line(length, largest, margin, step)
    end = length + -length % step
    assert line.size % step == 0
    assert len(line.firsts) == len(line.windows)
    for first, start in zip(line.firsts, line.windows, strict=True):
        assert start == 0 or start <= first - margin
        assert start + line.size == end or start + line.size >= line.last(first) + margin
        assert 0 <= start <= start + line.size <= end
    assert list(line.windows) == sorted(line.windows)
    assert line.last(line.firsts[-1]) == length


def test_mirrored_tiles_see_their_margin_on_all_sides() -> None:
    line = mirrored_line(length=50, tile=20, margin=3)
    assert (line.size, line.windows, list(line.firsts)) == (26, (-3, 17, 37), [0, 20, 40])


@given(length=st.integers(1, 3000), largest=st.integers(1, 600))
def test_equal_tiles_cover_a_line_and_the_last_one_is_needed(length: int, largest: int) -> None:
    cut = tiling(length, 1, largest)
    assert cut.tile_height <= largest
    assert (len(cut.tops) - 1) * cut.tile_height < length <= len(cut.tops) * cut.tile_height


def test_images_of_many_sizes_share_few_tile_shapes() -> None:
    shapes = {tiling(side, 500, 256).tile_height for side in range(1, 257)}
    assert len(shapes) <= 13


def test_a_batch_of_tiles_is_bounded_but_never_empty() -> None:
    cut = tiling(256, 256 * 10, 256)
    assert [len(lefts) for lefts in cut.batches(margin=8, most_pixels=3 * 272 * 272)] == [3, 3, 3, 1]
    assert [len(lefts) for lefts in cut.batches(margin=8, most_pixels=1)] == [1] * 10


@given(length=st.integers(1, 12), before=st.integers(0, 40), after=st.integers(0, 40))
def test_mirroring_is_what_numpy_calls_reflection(length: int, before: int, after: int) -> None:
    line = np.arange(length)
    expected = np.pad(line, (before, after), mode="reflect") if length > 1 else np.zeros(before + after + 1)
    assert (mirrored(-before, length + after, length) == expected).all()
