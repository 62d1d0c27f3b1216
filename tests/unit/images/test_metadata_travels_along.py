"""Profile, EXIF, resolution and orientation are in the result as they were in the image, or truer."""

import functools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from workers.enhance import enhance_file

_WIDTH, _HEIGHT, _MAKE, _ORIENTATION = 0x100, 0x101, 0x10F, 0x112
_PIXEL_WIDTH, _PIXEL_HEIGHT, _MAKER_NOTE = 0xA002, 0xA003, 0x927C


@pytest.fixture
def photo(noise: NDArray[np.uint8]) -> Image.Image:
    """Flat patches, so that a JPEG of it can be compared: 120×80 pixels."""
    return Image.fromarray(noise[:4, :6, :3].repeat(20, axis=0).repeat(20, axis=1))


def _exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[_WIDTH], exif[_HEIGHT], exif[_MAKE], exif[_ORIENTATION] = 120, 80, "A camera", orientation
    details = exif.get_ifd(0x8769)
    details[_PIXEL_WIDTH], details[_PIXEL_HEIGHT], details[_MAKER_NOTE] = 120, 80, b"private\0notes" * 3
    return exif


@functools.cache  # the time of its making is in it
def _profile() -> bytes:
    """A profile that is surely not the sRGB that anybody would put there unasked."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    data[24:26] = struct.pack(">H", 1999)  # the year of its making
    return bytes(data)


@pytest.mark.parametrize("after", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("before", ["png", "jpg", "webp", "tif"])
def test_the_colour_profile_is_kept_byte_for_byte(
    tmp_path: Path, nearest: Any, photo: Image.Image, before: str, after: str
) -> None:
    photo.save(tmp_path / f"in.{before}", icc_profile=_profile())
    enhance_file(tmp_path / f"in.{before}", tmp_path / f"out.{after}", nearest)
    assert Image.open(tmp_path / f"out.{after}").info["icc_profile"] == _profile()


def test_a_profile_that_spans_several_segments_of_a_jpeg(tmp_path: Path, nearest: Any, photo: Image.Image) -> None:
    large = _profile() + np.random.default_rng(0).bytes(200_000)
    photo.save(tmp_path / "in.jpg", icc_profile=large)
    enhance_file(tmp_path / "in.jpg", tmp_path / "out.jpg", nearest)
    assert Image.open(tmp_path / "out.jpg").info["icc_profile"] == large


def test_colours_are_converted_where_a_profile_has_no_place(tmp_path: Path, nearest: Any) -> None:
    # A profile in which the numbers mean something else: red and blue have changed places.
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    Image.new("RGB", (16, 16), (250, 10, 10)).save(tmp_path / "in.png", icc_profile=bytes(swapped))
    result = enhance_file(tmp_path / "in.png", tmp_path / "out.bmp", nearest)
    red_, green, blue_ = Image.open(tmp_path / "out.bmp").getpixel((5, 5))
    assert blue_ > 230 > 60 > max(red_, green)
    assert any("profile" in note for note in result.notes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(("jpg", "jpg"), ("jpg", "png"), ("jpg", "webp"), ("png", "png"), ("png", "jpg"), ("webp", "webp")),
        *(("jpg", "tif"), ("webp", "tif")),
    ],
)
def test_exif_is_kept_and_states_the_new_size(
    tmp_path: Path, nearest: Any, photo: Image.Image, before: str, after: str
) -> None:
    photo.save(tmp_path / f"in.{before}", exif=_exif())
    enhance_file(tmp_path / f"in.{before}", tmp_path / f"out.{after}", nearest)
    exif = Image.open(tmp_path / f"out.{after}").getexif()
    details = exif.get_ifd(0x8769)
    assert exif[_MAKE] == "A camera"
    assert (details[_PIXEL_WIDTH], details[_PIXEL_HEIGHT]) == (240, 160)
    assert details[_MAKER_NOTE] == b"private\0notes" * 3
    if after != "webp":  # there libvips rebuilds the block, and drops what belongs to uncompressed pictures
        assert (exif[_WIDTH], exif[_HEIGHT]) == (240, 160)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("after", ["jpg", "webp", "tif", "png", "bmp"])
@pytest.mark.parametrize("before", ["jpg", "tif", "webp"])
def test_every_orientation_looks_the_same_as_before(
    tmp_path: Path, nearest: Any, photo: Image.Image, orientation: int, before: str, after: str
) -> None:
    photo.save(tmp_path / f"in.{before}", exif=_exif(orientation), quality=95)
    result = enhance_file(tmp_path / f"in.{before}", tmp_path / f"out.{after}", nearest, preview=tmp_path / "look")
    upright = ImageOps.exif_transpose(Image.open(tmp_path / f"in.{before}")).convert("RGB")
    out = Image.open(tmp_path / f"out.{after}")
    kept = after in ("jpg", "webp", "tif")
    assert out.getexif().get(_ORIENTATION, 1) == (orientation if kept else 1)
    if after != "tif":  # Pillow tells the size of a TIFF as it will be when turned
        assert out.size == (result.out_width, result.out_height)
    seen = ImageOps.exif_transpose(out).convert("RGB")
    expected = upright.resize((upright.width * 2, upright.height * 2), Image.Resampling.NEAREST)
    assert seen.size == expected.size
    assert np.abs(np.asarray(seen).astype(int) - np.asarray(expected)).mean() < 4
    shown = Image.open(tmp_path / "look.after.jpg")
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean() < 6


@pytest.mark.parametrize("after", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("before", ["png", "jpg", "tif", "bmp"])
def test_dots_per_inch_are_kept(tmp_path: Path, nearest: Any, photo: Image.Image, before: str, after: str) -> None:
    photo.save(tmp_path / f"in.{before}", dpi=(300, 150))
    enhance_file(tmp_path / f"in.{before}", tmp_path / f"out.{after}", nearest)
    across, down = Image.open(tmp_path / f"out.{after}").info["dpi"]
    assert (round(across), round(down)) == (300, 150)


def test_gamma_and_texts_of_a_png_are_kept(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    Image.new("RGB", (8, 8), (9, 99, 199)).save(tmp_path / "in.png")
    content = (tmp_path / "in.png").read_bytes()
    extra = [
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        chunk(b"tEXt", b"Author\0somebody"),
    ]
    (tmp_path / "in.png").write_bytes(content[:33] + b"".join(extra) + content[33:])
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    result = (tmp_path / "out.png").read_bytes()
    assert all(part in result for part in extra)
    assert Image.open(tmp_path / "out.png").getpixel((15, 15)) == (9, 99, 199)
    assert any("gamma" in note for note in enhance_file(tmp_path / "in.png", tmp_path / "out.jpg", nearest).notes)


def test_an_exif_block_that_cannot_be_read_is_left_alone(tmp_path: Path, nearest: Any, photo: Image.Image) -> None:
    photo.save(tmp_path / "in.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense")
    enhance_file(tmp_path / "in.jpg", tmp_path / "out.jpg", nearest)
    assert b"Exif\0\0II*\0\xff\xff\xff\x7fnonsense" in (tmp_path / "out.jpg").read_bytes()


def test_a_tiff_of_the_other_byte_order_keeps_what_it_says(tmp_path: Path, nearest: Any, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[_MAKE], exif[0x8298] = "A camera", "me"
    details, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    details[0x829A], details[0x8827], place[2] = 0.008, 400, (48.0, 8.0, 15.5)  # time, sensitivity, latitude
    exif.endian = ">"
    photo.save(tmp_path / "in.jpg", exif=exif)
    for first, then in (("in.jpg", "middle.tif"), ("middle.tif", "again.tif"), ("again.tif", "out.jpg")):
        enhance_file(tmp_path / first, tmp_path / then, nearest)
    for name in ("middle.tif", "again.tif", "out.jpg"):
        kept = Image.open(tmp_path / name).getexif()
        assert (kept[_MAKE], kept[0x8298]) == ("A camera", "me")
        assert (float(kept.get_ifd(0x8769)[0x829A]), kept.get_ifd(0x8769)[0x8827]) == (0.008, 400)
        assert kept.get_ifd(0x8825)[2] == (48.0, 8.0, 15.5)


def test_pages_keep_the_texts_of_their_own(tmp_path: Path, nearest: Any, photo: Image.Image) -> None:
    second = photo.convert("L")
    second.encoderinfo = {"tiffinfo": {315: "somebody else"}}
    photo.save(tmp_path / "in.tif", save_all=True, append_images=[second], tiffinfo={315: "somebody"})
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    with Image.open(tmp_path / "out.tif") as out:
        authors = []
        for number in range(2):
            out.seek(number)
            authors.append(out.tag_v2[315])
    assert authors == ["somebody", "somebody else"]


@pytest.mark.parametrize(
    "extra",
    [
        *((b"gAMA", b"\1"), (b"pHYs", b"\0\0"), (b"cHRM", bytes(9)), (b"sRGB", b""), (b"tIME", bytes(40))),
        *((b"iCCP", b"name\0\1rubbish"), (b"iCCP", b""), (b"zTXt", b"a\0\0rubbish"), (b"iTXt", b"a\0\1\0\0\0rubbish")),
        *((b"eXIf", b"rubbish"), (b"tEXt", b"no keyword")),
    ],
)
def test_a_part_of_a_png_that_makes_no_sense_is_left_out(
    tmp_path: Path, nearest: Any, chunk: Any, extra: tuple[bytes, bytes]
) -> None:
    Image.new("RGB", (8, 8), (9, 99, 199)).save(tmp_path / "in.png")
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content[:33] + chunk(*extra) + content[33:])
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    assert extra[0] not in (tmp_path / "out.png").read_bytes()
    assert Image.open(tmp_path / "out.png").getpixel((9, 9)) == (9, 99, 199)


def test_a_part_of_a_png_that_is_there_twice_is_kept_once(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "in.png", dpi=(300, 300))
    content = (tmp_path / "in.png").read_bytes()
    again = chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1))
    (tmp_path / "in.png").write_bytes(content[:-12] + again + content[-12:])
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    assert (tmp_path / "out.png").read_bytes().count(b"pHYs") == 1
    (tmp_path / "in.png").write_bytes(content.replace(content[33:54], b""))
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    assert b"pHYs" not in (tmp_path / "out.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content)
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest)
    assert round(Image.open(tmp_path / "out.png").info["dpi"][0]) == 300
