"""Every kind of pixel in every format comes out as it went in, each pixel four times; Pillow is the judge."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image

from workers.codec import png
from workers.enhance import enhance_file

Bytes = NDArray[np.uint8]
_EXACT = [
    *(("png", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("tif", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")),
    *(("bmp", mode) for mode in ("1", "L", "P", "RGB")),
    *(("webp", mode) for mode in ("RGB", "RGBA")),
]
_COMES_AS = {"1": "L", "P": "RGB"}


def _drawn(noise: Bytes, mode: str) -> Image.Image:
    """An image of the mode; every alpha is visible, as the colours of invisible pixels may change."""
    noise[..., 3] = np.maximum(noise[..., 3], 1)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 256 + noise[..., 1])
    if mode == "P":
        return Image.fromarray(noise[..., :3]).quantize(50)
    if mode == "1":
        return Image.fromarray(noise[..., 0] > 127)
    if mode == "LA":
        return Image.fromarray(noise[..., 2:], "LA")
    bands = {"L": 1, "RGB": 3}.get(mode, 4)
    return Image.fromarray(noise[..., :bands].squeeze(), mode)


def _twice(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize(("suffix", "mode"), _EXACT)
def test_pixels_come_out_exactly(tmp_path: Path, nearest: Any, noise: Bytes, suffix: str, mode: str) -> None:
    image = _drawn(noise, mode)
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    image.save(source, **({"lossless": True} if suffix == "webp" else {}))
    result = enhance_file(source, target, nearest)
    assert (result.width, result.height, result.out_width, result.out_height) == (52, 40, 104, 80)
    with Image.open(target) as out:
        assert out.mode == _COMES_AS.get(mode, mode)
        expected = image.convert(out.mode) if mode in _COMES_AS else image
        assert (np.asarray(out) == _twice(np.asarray(expected))).all()
        assert out.format == result.format == {"tif": "TIFF"}.get(suffix, suffix.upper())


def test_a_bmp_keeps_its_alpha(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    _drawn(noise, "RGBA").save(tmp_path / "in.png")  # Pillow writes no BMP that says it has alpha; we do
    enhance_file(tmp_path / "in.png", tmp_path / "middle.bmp", nearest)
    enhance_file(tmp_path / "middle.bmp", tmp_path / "out.bmp", nearest)
    with Image.open(tmp_path / "out.bmp") as out:
        assert out.mode == "RGBA"
        assert (np.asarray(out) == _twice(_twice(noise))).all()


def test_grey_with_alpha_becomes_colour_where_it_must(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    grey = _drawn(noise, "LA")
    grey.save(tmp_path / "in.png")
    enhance_file(tmp_path / "in.png", tmp_path / "out.bmp", nearest)
    assert (np.asarray(Image.open(tmp_path / "out.bmp")) == _twice(np.asarray(grey.convert("RGBA")))).all()


def test_a_resolution_beyond_sense_is_left_out(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    Image.fromarray(noise[..., :3]).save(tmp_path / "in.bmp")
    content = bytearray((tmp_path / "in.bmp").read_bytes())
    content[38:46] = struct.pack("<II", 4_000_000_000, 1)
    (tmp_path / "in.bmp").write_bytes(content)
    for suffix in ("bmp", "png", "jpg", "tif"):
        enhance_file(tmp_path / "in.bmp", tmp_path / f"out.{suffix}", nearest)
        assert Image.open(tmp_path / f"out.{suffix}").size == (104, 80)


@pytest.mark.parametrize("transparent", [False, True])
def test_a_gif_keeps_its_colours(tmp_path: Path, nearest: Any, transparent: bool) -> None:
    colours = np.array([[255, 0, 0], [0, 90, 0], [20, 20, 250], [250, 250, 250]], np.uint8)
    choice = np.random.default_rng(5).integers(0, 4, (10, 12)).repeat(4, axis=0).repeat(4, axis=1)
    image = Image.fromarray(colours[choice]).quantize(4)
    image.save(tmp_path / "in.gif", **({"transparency": image.getpixel((0, 0))} if transparent else {}))
    enhance_file(tmp_path / "in.gif", tmp_path / "out.gif", nearest)
    before = np.asarray(Image.open(tmp_path / "in.gif").convert("RGBA")).astype(int)
    after = np.asarray(Image.open(tmp_path / "out.gif").convert("RGBA")).astype(int)
    assert (after[..., 3] == _twice(before[..., 3])).all()
    assert (0 in after[..., 3]) == transparent
    assert np.abs(after - _twice(before))[after[..., 3] > 0].max() <= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_keeps_its_colours_and_its_kind(
    tmp_path: Path, nearest: Any, noise: Bytes, mode: str, subsampling: int
) -> None:
    patches = noise[:5, :6].repeat(16, axis=0).repeat(16, axis=1)
    bands = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    image = Image.fromarray(patches[..., :bands].squeeze(), mode)
    image.save(tmp_path / "in.jpg", quality=95, subsampling=subsampling)
    enhance_file(tmp_path / "in.jpg", tmp_path / "out.jpg", nearest)
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.mode == mode
        difference = np.abs(np.asarray(after).astype(int) - _twice(np.asarray(before)))
        assert difference.mean() < 4  # a shift of colours, or inverted ink, would be tens
        if mode == "RGB":
            factors = [(sampling[1], sampling[2]) for sampling in after.layer]
            assert factors[0] == ((2, 2) if subsampling else (1, 1))


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
@pytest.mark.parametrize("via", ["png", "tif"])
def test_sixteen_bits_are_sixteen_bits_all_the_way(
    tmp_path: Path, nearest: Any, chunk: Any, colour_type: int, via: str
) -> None:
    bands = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    pixels = np.random.default_rng(2).integers(1, 65536, (9, 11, bands)).astype(np.uint16)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 11, 9, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "in.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    enhance_file(tmp_path / "in.png", tmp_path / f"middle.{via}", nearest)
    enhance_file(tmp_path / f"middle.{via}", tmp_path / "out.png", nearest)
    assert (_sixteen_bit_png(tmp_path / "out.png", bands) == _twice(_twice(pixels))).all()


def _sixteen_bit_png(path: Path, bands: int) -> NDArray[np.uint16]:
    """A decoder of its own for what Pillow reads as 8 bits only."""
    data, at, packed = path.read_bytes(), 8, b""
    width, height, depth = struct.unpack(">IIB", data[16:25])
    assert depth == 16
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        packed += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += length + 12
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * bands * 2)
    result = np.zeros((height + 1, bands * 2 * (width + 1)), int)  # one line above, one pixel to the left
    step = bands * 2
    for y, line in enumerate(lines.astype(int), start=1):
        for x in range(width * step):
            left, up, corner = result[y, x], result[y - 1, x + step], result[y - 1, x]
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))
            predicted = [0, left, up, (left + up) // 2, nearest][line[0]]
            result[y, x + step] = (line[1 + x] + predicted) % 256
    octets = result[1:, step:].astype(np.uint8)
    whole: NDArray[np.uint16] = octets.view(">u2").astype(np.uint16).reshape(height, width, bands)
    return whole


def test_sixteen_bits_are_rounded_where_only_eight_fit(tmp_path: Path, nearest: Any) -> None:
    levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "in.png")
    result = enhance_file(tmp_path / "in.png", tmp_path / "out.bmp", nearest)
    expected = np.rint(_twice(levels) / 257)
    assert np.abs(np.asarray(Image.open(tmp_path / "out.bmp")) - expected).max() == 0
    assert any("16 bits" in note for note in result.notes)


def test_cmyk_becomes_srgb_only_where_it_must(tmp_path: Path, nearest: Any) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:] = (0, 255, 255, 0)  # magenta and yellow make red; no ink is white paper
    Image.fromarray(inks, "CMYK").save(tmp_path / "in.tif")
    result = enhance_file(tmp_path / "in.tif", tmp_path / "out.png", nearest)
    pixels = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert (pixels[:, :16] > 245).all()
    red, green, blue = pixels[8, 48]
    assert red > 180
    assert max(green, blue) < 80
    assert any("CMYK" in note for note in result.notes)


def test_alpha_that_was_multiplied_in_is_taken_out(tmp_path: Path, nearest: Any) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:] = (100, 50, 0, 128)
    path = tmp_path / "in.tif"
    Image.fromarray(pixels, "RGBA").save(path)
    unassociated, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    assert unassociated in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(unassociated, associated))
    enhance_file(path, tmp_path / "out.png", nearest)
    first = np.asarray(Image.open(tmp_path / "out.png"))[0, 0].astype(int)
    assert np.abs(first - (199, 100, 0, 128)).max() <= 1


def test_the_name_lies_and_the_content_counts(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    Image.fromarray(noise[..., :3]).save(tmp_path / "photo.png", format="JPEG")
    result = enhance_file(tmp_path / "photo.png", tmp_path / "result.png", nearest)
    assert Image.open(tmp_path / "result.png").format == "PNG"
    assert any("named like a PNG, but it is a JPEG" in note for note in result.notes)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_many_frames_the_first_one_is_taken_where_only_one_fits(tmp_path: Path, nearest: Any, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((200, 10, 10), (10, 10, 200))]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"in.{suffix}", save_all=True, append_images=frames[1:], **options)
    result = enhance_file(tmp_path / f"in.{suffix}", tmp_path / "out.bmp", nearest)
    red, green, blue = Image.open(tmp_path / "out.bmp").convert("RGB").getpixel((16, 16))
    assert (red, max(green, blue)) == (200, 10)
    assert any("first of 2" in note for note in result.notes)


def test_lossy_webp_stays_lossy_and_lossless_stays_lossless(tmp_path: Path, nearest: Any, noise: Bytes) -> None:
    for lossless, kind in ((True, b"VP8L"), (False, b"VP8 ")):
        Image.fromarray(noise[..., :3]).save(tmp_path / "in.webp", lossless=lossless)
        enhance_file(tmp_path / "in.webp", tmp_path / "out.webp", nearest)
        assert kind in (tmp_path / "out.webp").read_bytes()[:40]


def test_a_preview_shows_the_same_middle_before_and_after(tmp_path: Path, nearest: Any) -> None:
    pixels = np.zeros((400, 700, 3), np.uint8)
    pixels[200, 350] = 255  # the pixel in the middle
    Image.fromarray(pixels).save(tmp_path / "in.png")
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest, preview=tmp_path / "previews" / "x")
    before = Image.open(tmp_path / "previews" / "x.before.jpg")
    after = Image.open(tmp_path / "previews" / "x.after.jpg")
    assert (before.size, after.size) == ((320, 320), (640, 640))
    assert before.convert("L").getpixel((160, 160)) > 200
    assert after.convert("L").getpixel((321, 321)) > 200


def test_progress_is_told_in_rows(tmp_path: Path, nearest: Any) -> None:
    Image.new("L", (10, 600)).save(tmp_path / "in.png")
    told: list[tuple[int, int]] = []
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest, on_progress=lambda *rows: told.append(rows))
    assert told[-1] == (600, 600)
    assert len(told) == len(set(told)) > 1


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_png_is_packed_in_strips_and_comes_out_as_it_was(bands: int, kind: type[np.unsignedinteger[Any]]) -> None:
    pixels = np.random.default_rng(bands).integers(0, np.iinfo(kind).max, (700, 500, bands), kind, endpoint=True)
    pixels[100:300] = pixels[100]
    image = pyvips.Image.new_from_memory(pixels.tobytes(), 500, 700, bands, "ushort" if kind is np.uint16 else "uchar")
    written = io.BytesIO()
    png.write(image, [(b"tEXt", b"Title\0strips")], written)
    read = pyvips.Image.pngload_buffer(written.getvalue(), fail_on="warning")
    np.testing.assert_array_equal(read.numpy().reshape(pixels.shape), pixels)
    assert written.getvalue().count(b"IDAT") >= (1 if pixels.nbytes < 2 << 20 else 2)
    assert read.get("png-comment-0-Title") == "strips"
