"""Animations stay animations, with every frame and its time; a TIFF keeps its pages. Pillow is the judge."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.enhance import Limits, enhance_file
from workers.rejects import Rejected, RejectReason

Bytes = NDArray[np.uint8]
_DELAYS = [100, 50, 200]


def _frames(*, alpha: bool) -> list[Image.Image]:
    """Three frames in few colours, which differ in a part; with alpha a hole wanders through them."""
    colours = np.array([[250, 10, 10, 255], [10, 120, 10, 255], [20, 20, 250, 255], [0, 0, 0, 0]], np.uint8)
    choice = np.random.default_rng(3).integers(0, 3, (3, 6, 8)).repeat(3, axis=1).repeat(3, axis=2)
    choice[:, :6] = choice[0, :6]
    for number in range(3 if alpha else 0):
        choice[number, 6:12, 6 * number : 6 * number + 6] = 3
    return [Image.fromarray(picture if alpha else picture[..., :3]) for picture in colours[choice]]


def _animation(path: Path, *, alpha: bool = False, **options: Any) -> Path:
    first, *others = _frames(alpha=alpha)
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=_DELAYS, loop=3, **lossless, **options)
    return path


def _shown(path: Path) -> tuple[NDArray[np.int64], list[int]]:
    """What a viewer shows, frame by frame, RGBA, with black for what is invisible; and for how long, in ms."""
    with Image.open(path) as image:
        pictures, delays = [], []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            picture = np.asarray(image.convert("RGBA")).astype(int)
            pictures.append(np.where(picture[..., 3:] > 0, picture, 0))
            delays.append(round(image.info.get("duration", 0)))
    return np.stack(pictures), delays


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("after", ["gif", "webp", "png"])
@pytest.mark.parametrize("before", ["gif", "webp", "png"])
def test_an_animation_keeps_frames_and_times(
    tmp_path: Path, nearest: Any, before: str, after: str, alpha: bool, in_memory: int
) -> None:
    source, target = _animation(tmp_path / f"in.{before}", alpha=alpha), tmp_path / f"out.{after}"
    result = enhance_file(source, target, nearest, Limits(in_memory=in_memory))
    (was, times), (now, times_now) = _shown(source), _shown(target)
    assert times == times_now == _DELAYS
    assert now.shape == (3, 36, 48, 4)
    assert (result.height, result.out_height) == (18, 36)
    assert np.abs(now - was.repeat(2, axis=1).repeat(2, axis=2)).max() <= (4 if after == "gif" else 0)
    assert any("All 3 frames" in note for note in result.notes)


@pytest.mark.parametrize("format", ["gif", "webp", "png"])
def test_an_animation_is_played_as_often_as_before(tmp_path: Path, nearest: Any, format: str) -> None:
    source, target = _animation(tmp_path / f"in.{format}"), tmp_path / f"out.{format}"
    enhance_file(source, target, nearest)
    with Image.open(source) as before, Image.open(target) as after:
        assert after.info["loop"] == before.info["loop"] == 3


# Not (2, 1): there Pillow has laid the frame over the very copy that it restores.
@pytest.mark.parametrize(("disposal", "blend"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])
def test_frames_of_a_png_are_laid_over_each_other_as_they_say(
    tmp_path: Path, nearest: Any, noise: Bytes, disposal: int, blend: int
) -> None:
    noise[..., 3] = np.where(noise[..., 3] > 99, 255, 0)  # Pillow lays what is half transparent over it wrongly
    path, later = tmp_path / "in.png", noise.copy()
    later[10:20, 10:30] = np.random.default_rng(2).integers(0, 256, (10, 20, 4), dtype=np.uint8)
    later[..., 3] = np.where(later[..., 3] > 99, 255, 0)
    pictures = [Image.fromarray(pixels) for pixels in (noise, later, noise[::-1].copy())]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], disposal=[0, disposal, 0], blend=blend)
    enhance_file(path, tmp_path / "out.png", nearest)
    was, now = _shown(path)[0], _shown(tmp_path / "out.png")[0]
    assert (now == was.repeat(2, axis=1).repeat(2, axis=2)).all()


def test_what_a_frame_of_a_png_covered_comes_back(tmp_path: Path, nearest: Any) -> None:
    red, hole = Image.new("RGBA", (8, 8), "red"), Image.new("RGBA", (8, 8), (0, 0, 255, 0))
    blue = hole.copy()
    blue.paste((0, 0, 255, 255), (0, 0, 4, 8))
    red.save(tmp_path / "in.png", save_all=True, append_images=[blue, hole], disposal=[0, 2, 0], blend=1)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    shown = _shown(tmp_path / "out.png")[0]
    assert (shown[1, 0, 0] == (0, 0, 255, 255)).all()
    assert (shown[2] == (255, 0, 0, 255)).all()


def test_what_is_half_transparent_mixes_with_the_frame_below(tmp_path: Path, nearest: Any) -> None:
    frames = [Image.new("RGBA", (8, 8), colour) for colour in ((200, 0, 0, 128), (0, 0, 200, 128))]
    frames[0].save(tmp_path / "in.png", save_all=True, append_images=frames[1:], blend=1)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    # Half of the blue, and half of the half red below: three quarters are covered.
    assert np.abs(_shown(tmp_path / "out.png")[0][1, 5, 5] - (66, 0, 134, 192)).max() <= 1


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_frames_of_a_gif_are_disposed_of_as_they_say(tmp_path: Path, nearest: Any, disposal: int) -> None:
    source = _animation(tmp_path / "in.gif", alpha=True, disposal=disposal, optimize=False)
    enhance_file(source, tmp_path / "out.png", nearest)
    was, now = _shown(source)[0], _shown(tmp_path / "out.png")[0]
    assert (now == was.repeat(2, axis=1).repeat(2, axis=2)).all()


def test_sixteen_bits_of_an_animated_png_stay(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    levels = np.random.default_rng(1).integers(0, 65536, (2, 5, 7)).astype(">u2")
    packed = [zlib.compress(b"".join(b"\0" + row.tobytes() for row in picture)) for picture in levels]

    def control(number: int) -> bytes:
        return bytes(chunk(b"fcTL", struct.pack(">5I2H2B", number, 7, 5, 0, 0, 1, 60, 0, 0)))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 0, 0, 0, 0)) + chunk(b"acTL", struct.pack(">II", 2, 0))
    parts += control(0) + chunk(b"IDAT", packed[0]) + control(1) + chunk(b"fdAT", b"\0\0\0\2" + packed[1])
    (tmp_path / "in.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b""))
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    with Image.open(tmp_path / "out.png") as out:
        for number, picture in enumerate(levels):
            out.seek(number)
            assert out.info["duration"] == 17
            assert (np.asarray(out) == picture.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_of_a_broken_animation_the_still_picture_is_taken(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    content = _animation(tmp_path / "in.png").read_bytes()
    content = content.replace(chunk(b"acTL", struct.pack(">II", 3, 3)), chunk(b"acTL", struct.pack(">II", 9, 3)))
    (tmp_path / "in.png").write_bytes(content)
    result = enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    assert getattr(Image.open(tmp_path / "out.png"), "n_frames", 1) == 1
    assert any("animation in the PNG is damaged" in note for note in result.notes)


def test_all_frames_together_count_for_the_limit(tmp_path: Path, nearest: Any) -> None:
    for format in ("gif", "webp", "png"):
        source = _animation(tmp_path / f"in.{format}")
        enhance_file(source, tmp_path / f"out.{format}", nearest, Limits(max_pixels=3 * 24 * 18))
        with pytest.raises(Rejected, match="3 frames") as refusal:
            enhance_file(source, tmp_path / f"out.{format}", nearest, Limits(max_pixels=3 * 24 * 18 - 1))
        assert refusal.value.reason is RejectReason.TOO_LARGE


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_the_pages_of_a_tiff_may_differ_in_size_and_kind(
    tmp_path: Path, nearest: Any, noise: Bytes, in_memory: int
) -> None:
    rgb = Image.fromarray(noise[..., :3])
    pages = [rgb, rgb.convert("L").crop((0, 0, 9, 31)), rgb.convert("CMYK"), rgb.resize((300, 200)), rgb.convert("1")]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    result = enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest, Limits(in_memory=in_memory))
    with Image.open(tmp_path / "out.tif") as out:
        assert out.n_frames == 5
        for number, page in enumerate(pages):
            out.seek(number)
            expected = np.asarray(page.convert("L") if page.mode == "1" else page)
            assert (np.asarray(out) == expected.repeat(2, axis=0).repeat(2, axis=1)).all()
    assert "All 5 pages were enhanced." in result.notes
    assert {path.name for path in tmp_path.iterdir()} == {"in.tif", "out.tif"}


def test_a_page_that_is_damaged_is_named(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    rgb = Image.fromarray(noise[..., :3])
    rgb.save(tmp_path / "in.tif", save_all=True, append_images=[rgb, rgb.rotate(90)], compression="tiff_deflate")
    content = bytearray((tmp_path / "in.tif").read_bytes())
    with Image.open(tmp_path / "in.tif") as image:
        image.seek(1)
        start = image.tag_v2[273][0]
    content[start : start + 200] = b"\x55" * 200
    (tmp_path / "in.tif").write_bytes(content)
    with pytest.raises(Rejected, match="It is page 2 of 3") as refusal:
        enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert refusal.value.reason is RejectReason.DAMAGED
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_pages_that_lie_in_the_same_place_are_not_worked_off_for_ever(tmp_path: Path, nearest: Any) -> None:
    pages = [Image.new("L", (10, 10))] * 21
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(Rejected, match="21 pages") as refusal:
        enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest, Limits(max_pixels=100))
    assert refusal.value.reason is RejectReason.TOO_LARGE


def test_a_smaller_copy_in_a_tiff_is_no_page(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    rgb = Image.fromarray(noise[..., :3])
    small = rgb.resize((20, 20))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    rgb.save(tmp_path / "in.tif", save_all=True, append_images=[small])
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert Image.open(tmp_path / "out.tif").n_frames == 1
