"""How strongly JPEG has compressed a file is told from its header, whoever wrote it, and whatever else is in it."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.choice import COMPRESSED_UP_TO, is_compressed
from workers.compression import CHROMA, LUMA, quality_in, quality_of

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8))
FILLED = b"\xff\xd8\xff\xfe\x00\x04hi\xff\xff\xff\xfe\x00\x02"


def jpeg(quality: int | str = 75, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    PICTURE.convert(mode).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def told(data: bytes) -> int | None:
    return quality_in(io.BytesIO(data))


def with_tables(*tables: list[int]) -> bytes:
    """A file with tables of one's own, which quality 50 leaves as they are."""
    return jpeg(50, qtables=list(tables))


@given(
    quality=st.integers(1, 100),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restarts=st.sampled_from([0, 2]),
)
def test_the_quality_of_libjpeg_is_told_within_two(
    quality: int, mode: str, subsampling: int, progressive: bool, optimize: bool, restarts: int
):
    options = {"progressive": progressive, "optimize": optimize, "restart_marker_blocks": restarts}
    if mode == "RGB":
        options["subsampling"] = subsampling
    found = told(jpeg(quality, mode, **options))
    assert found is not None
    assert abs(found - quality) <= 2


def test_the_standard_tables_are_quality_fifty():
    header = Image.open(io.BytesIO(jpeg(50)))
    assert header.quantization == {0: list(_rows(LUMA)), 1: list(_rows(CHROMA))}  # type: ignore[attr-defined]
    assert told(jpeg(50)) == 50


def test_tables_of_photoshop_are_placed_where_their_pictures_look():
    qualities = [told(jpeg(name)) or 0 for name in ("low", "medium", "high", "maximum")]
    assert qualities == sorted(set(qualities))
    assert qualities[0] < 70
    assert qualities[-1] > COMPRESSED_UP_TO
    assert qualities[-2] <= COMPRESSED_UP_TO


def test_tables_for_the_web_are_placed_too():
    names = ("web_low", "web_medium", "web_high", "web_very_high", "web_maximum")
    qualities = [told(jpeg(name)) or 0 for name in names]
    assert qualities == sorted(set(qualities))
    assert [quality <= COMPRESSED_UP_TO for quality in qualities] == [True, True, True, False, False]


@pytest.mark.parametrize("kind", range(9))
def test_tables_of_mozjpeg_rise_with_their_quality(kind: int):
    image = pyvips.Image.new_from_array(np.asarray(PICTURE))
    told_as = [told(image.jpegsave_buffer(Q=quality, quant_table=kind)) or 0 for quality in (20, 50, 75, 90, 98)]
    assert told_as == sorted(set(told_as))
    assert told_as[1] < 75
    assert told_as[-1] > COMPRESSED_UP_TO


def test_the_table_of_colours_counts_less_than_that_of_luma():
    fine, coarse = [4] * 64, [60] * 64
    only_colours, only_luma = told(with_tables(fine, coarse)), told(with_tables(coarse, fine))
    assert only_colours is not None
    assert only_luma is not None
    assert only_colours > 60 > 50 > only_luma


def test_steps_of_one_and_of_two_hundred_and_fifty_five_are_the_ends():
    assert told(with_tables([1] * 64)) == 100
    assert told(with_tables([255] * 64)) in (1, 2)


def test_steps_may_have_two_bytes():
    wide = b"\xff\xdb" + struct.pack(">HB64H", 131, 0x10, *(20 * step for step in LUMA))
    assert told(b"\xff\xd8" + wide + _frame()) == pytest.approx(5_000 / 2_000, abs=1)


def test_a_thumbnail_and_a_profile_before_the_tables_do_not_matter():
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    thumbnail = jpeg(10)
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", 2 + len(part)) + part for part in [thumbnail[:60_000]] * 5)
    data = jpeg(85, exif=exif)
    assert told(data[:2] + segments + data[2:]) == 85


def test_space_before_a_marker_is_allowed():
    assert told(FILLED + jpeg(60)[2:]) == 60


def test_the_tables_of_the_frame_count_not_those_that_nobody_uses():
    spare = b"\xff\xdb" + struct.pack(">HB64B", 67, 3, *[200] * 64)
    data = jpeg(90)
    assert told(data[:2] + spare + data[2:]) == 90


@pytest.mark.parametrize("quality", [20, 75, 95])
@pytest.mark.parametrize("options", [{}, {"tile": True}, {"bigtiff": True}, {"Q": 50, "pyramid": True}])
def test_jpeg_inside_a_tiff_counts(quality: int, options: dict[str, Any]):
    image = pyvips.Image.new_from_array(np.asarray(PICTURE))
    options = {"Q": quality, **options}
    assert told(image.tiffsave_buffer(compression="jpeg", **options)) == pytest.approx(options["Q"], abs=2)


@pytest.mark.parametrize("name", ["II", "MM"])
def test_tables_in_the_strip_of_a_tiff_count(name: str):
    order = "<" if name == "II" else ">"
    strip = jpeg(40)
    entries = [(259, 3, 1, 7), (273, 4, 1, 8), (279, 4, 1, len(strip))]
    page = struct.pack(order + "H", len(entries)) + b"".join(_entry(order, *entry) for entry in entries) + b"\0" * 4
    head = name.encode() + struct.pack(order + "HI", 42, 8 + len(strip))
    assert told(head + strip + page) == 40


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("gif", {}),
        ("bmp", {}),
        ("webp", {"quality": 30}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("jp2", {}),
    ],
)
def test_what_jpeg_has_not_compressed_has_no_quality(tmp_path: Path, suffix: str, options: dict[str, Any]):
    path = tmp_path / f"picture.{suffix}"
    PICTURE.save(path, **options)
    assert quality_of(path) is None
    assert not is_compressed(path)


def test_a_lossless_jpeg_has_no_quality():
    assert told(jpeg(50).replace(b"\xff\xc0\x00\x11", b"\xff\xc3\x00\x11")) is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"II*\0", b"MM\0+\0\0", b"II*\0\xff\xff\xff\xff"]
)
def test_a_file_that_is_hardly_there_has_no_quality(data: bytes):
    assert told(data) is None


@given(cut=st.integers(0, 700), at=st.integers(0, 700), byte=st.integers(0, 255))
def test_a_broken_header_has_a_quality_or_none_and_no_error(cut: int, at: int, byte: int):
    for data in (jpeg(75), TIFF):
        broken = bytearray(data)
        broken[min(at, len(broken) - 1)] = byte
        for file in (bytes(broken), data[:cut]):
            assert told(file) in (None, *range(1, 101))


def test_a_header_made_to_waste_time_is_given_up():
    assert told(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000 + jpeg(50)[2:]) is None
    assert told(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 500 + jpeg(50)[2:]) == 50


def test_a_page_made_to_waste_memory_is_given_up():
    for count in (2**31, 70_000):
        page = struct.pack("<H", 2) + _entry("<", 259, 3, 1, 7) + _entry("<", 347, 7, count, 8)
        assert told(b"II*\0\x08\0\0\0" + page + b"\0" * 200_000) is None


def test_only_files_that_may_be_read_have_a_quality(tmp_path: Path):
    assert quality_of(tmp_path / "nowhere.jpg") is None
    assert quality_of(tmp_path) is None
    (tmp_path / "a.jpg").write_bytes(jpeg(50))
    assert quality_of(tmp_path / "a.jpg" / "b.jpg") is None
    (tmp_path / "named-otherwise.png").write_bytes(jpeg(50))
    assert is_compressed(tmp_path / "named-otherwise.png")
    if os.geteuid() != 0:
        (tmp_path / "a.jpg").chmod(0)
        assert quality_of(tmp_path / "a.jpg") is None


def test_nothing_is_decoded(tmp_path: Path):
    path = tmp_path / "torn.jpg"
    whole = jpeg(COMPRESSED_UP_TO)
    path.write_bytes(whole[: whole.index(b"\xff\xda") + 2])
    assert is_compressed(path)
    path.write_bytes(jpeg(COMPRESSED_UP_TO + 2))
    assert not is_compressed(path)


def _rows(zigzag: tuple[int, ...]) -> tuple[int, ...]:
    """The steps row by row, as Pillow gives them."""
    order = sorted(((x, y) for x in range(8) for y in range(8)), key=_place)
    rows = dict(zip(order, zigzag, strict=True))
    return tuple(rows[x, y] for y in range(8) for x in range(8))


def _place(xy: tuple[int, int]) -> tuple[int, int]:
    x, y = xy
    return (x + y, x if (x + y) % 2 == 0 else y)


def _frame() -> bytes:
    """The header of a grey frame that uses table 0, and the end of the header."""
    return b"\xff\xc1" + struct.pack(">HBHHB3B", 11, 8, 8, 8, 1, 1, 0x11, 0) + b"\xff\xda"


def _entry(order: str, tag: int, kind: int, count: int, value: int) -> bytes:
    packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    return struct.pack(order + "HHI", tag, kind, count) + packed


TIFF = pyvips.Image.new_from_array(np.asarray(PICTURE)).tiffsave_buffer(compression="jpeg", Q=50)
