"""Lab, floating point, linear light, rare TIFFs, and formats that are only read: what they look like stays."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from workers.enhance import enhance_file

Bytes = NDArray[np.uint8]
_COLOURS = np.array(
    [[0, 0, 0], [255, 255, 255], [128, 128, 128], [180, 60, 40], [30, 140, 60], [40, 70, 200]], np.uint8
)


@pytest.fixture
def patches() -> Bytes:
    """Six flat patches, of which each colour space can hold the colours: 16×96 pixels."""
    return np.repeat(np.repeat(_COLOURS[None], 16, axis=1), 16, axis=0)


def _vips(pixels: Bytes) -> Any:
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(pixels), pixels.shape[1], pixels.shape[0], bands, "uchar")
    return image.copy(interpretation="b-w" if bands == 1 else "srgb")


def _seen(path: Path) -> NDArray[np.int64]:
    """The middle of each patch as it is shown, 8-bit RGB; libvips is the judge, as Pillow cuts off 16 bits."""
    image = pyvips.Image.new_from_file(str(path))
    pixels = np.asarray(image.colourspace("srgb").cast("uchar"))
    return pixels.reshape(*pixels.shape[:2], -1)[16, 16::32, :3].astype(int)


@pytest.mark.parametrize("space", ["lab", "labs", "xyz", "scrgb"])
@pytest.mark.parametrize("after", ["tif", "png", "jpg"])
def test_colours_of_other_spaces_look_the_same(
    tmp_path: Path, nearest: Any, patches: Bytes, space: str, after: str
) -> None:
    _vips(patches).colourspace(space).write_to_file(str(tmp_path / "in.tif"))
    result = enhance_file(tmp_path / "in.tif", tmp_path / f"out.{after}", nearest)
    assert np.abs(_seen(tmp_path / f"out.{after}") - _COLOURS).max() <= (4 if after == "jpg" else 3)
    assert any("16 bits" in note for note in result.notes)


def test_lab_of_eight_bits_looks_the_same(tmp_path: Path, nearest: Any, patches: Bytes) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(Image.fromarray(patches), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    lab.save(tmp_path / "in.tif")
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert np.abs(_seen(tmp_path / "out.tif") - _COLOURS).max() <= 8  # eight bits of Lab are coarse


def test_floating_point_grey_is_linear_light(tmp_path: Path, nearest: Any) -> None:
    Image.fromarray(np.full((8, 8), 0.2140411, np.float32)).save(tmp_path / "in.tif")
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert abs(np.asarray(Image.open(tmp_path / "out.tif"))[5, 5].astype(int) - 32768) < 20


def test_what_is_brighter_than_white_is_cut_off_and_told(tmp_path: Path, nearest: Any) -> None:
    Image.fromarray(np.full((8, 8), 3.0, np.float32)).save(tmp_path / "in.tif")
    result = enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert np.asarray(Image.open(tmp_path / "out.tif"))[5, 5] == 65535
    assert any("3 times as bright" in note for note in result.notes)


@pytest.mark.parametrize("after", ["jpg", "webp", "tif", "bmp", "gif"])
def test_a_png_in_linear_light_looks_the_same_in_other_formats(
    tmp_path: Path, nearest: Any, patches: Bytes, chunk: Any, after: str
) -> None:
    light = np.where(patches <= 10, patches / 255 / 12.92, ((patches / 255 + 0.055) / 1.055) ** 2.4)
    Image.fromarray(np.rint(light * 255).astype(np.uint8)).save(tmp_path / "in.png")
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + content[33:])
    result = enhance_file(tmp_path / "in.png", tmp_path / f"out.{after}", nearest)
    seen = np.asarray(Image.open(tmp_path / f"out.{after}").convert("RGB"))[16, 16::32].astype(int)
    assert np.abs(seen - _COLOURS).max() <= 10  # eight bits of linear light are coarse where it is dark
    assert any("gamma" in note for note in result.notes)


def test_a_tiff_of_brightness_and_colour_differences(tmp_path: Path, nearest: Any, patches: Bytes) -> None:
    Image.fromarray(patches).convert("YCbCr").save(tmp_path / "in.tif")
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert np.abs(_seen(tmp_path / "out.tif") - _COLOURS).max() <= 2


@pytest.mark.parametrize("compression", ["zstd", "lzma", "group4", "packbits", "jpeg", "tiff_lzw"])
def test_compressions_of_a_tiff(tmp_path: Path, nearest: Any, patches: Bytes, compression: str) -> None:
    image = Image.fromarray(patches)
    image = image.convert("1") if compression == "group4" else image
    image.save(tmp_path / "in.tif", compression=compression)
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    expected = image.convert("RGB").resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST)
    difference = np.asarray(Image.open(tmp_path / "out.tif").convert("RGB")).astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() <= (3 if compression == "jpeg" else 0)


def _tiff(bits: int, samples: int, data: bytes, **more: tuple[int, ...]) -> bytes:
    """A TIFF of 8×4 pixels; `more` are tags by number, "tag_274=(0,)"."""
    tags = {256: (8,), 257: (4,), 258: (bits,) * samples, 259: (1,), 262: (1 if samples == 1 else 2,), 273: (8,)}
    tags |= {277: (samples,), 278: (4,), 279: (len(data),)} | {int(name[4:]): values for name, values in more.items()}
    directory, beyond = struct.pack("<H", len(tags)), b""
    end = 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", end + len(beyond)), beyond + packed
        directory += struct.pack("<HHI4s", tag, 3, len(values), packed)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4) + beyond


def test_twelve_bits_are_brought_to_the_scale_of_sixteen(tmp_path: Path, nearest: Any) -> None:
    levels = np.arange(32) * 132
    packed = b"".join(struct.pack(">I", int(a) << 12 | int(b))[1:] for a, b in levels.reshape(-1, 2))
    (tmp_path / "in.tif").write_bytes(_tiff(12, 1, packed))
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    out = np.asarray(Image.open(tmp_path / "out.tif"))[::2, ::2].ravel()
    assert (out == np.rint(levels * 65535 / 4095)).all()


def test_channels_beside_the_colours_are_left_out_and_told(tmp_path: Path, nearest: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 5), dtype=np.uint8)
    (tmp_path / "in.tif").write_bytes(_tiff(8, 5, pixels.tobytes(), tag_338=(0, 0)))
    result = enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    out = np.asarray(Image.open(tmp_path / "out.tif"))
    assert (out == pixels[..., :3].repeat(2, axis=0).repeat(2, axis=1)).all()
    assert any("2 channels" in note for note in result.notes)


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path, nearest: Any, orientation: int) -> None:
    (tmp_path / "in.tif").write_bytes(_tiff(8, 1, bytes(range(32)), tag_274=(orientation,)))
    enhance_file(tmp_path / "in.tif", tmp_path / "out.tif", nearest)
    assert np.asarray(Image.open(tmp_path / "out.tif"))[-1, -1] == 31


@pytest.mark.parametrize("suffix", ["ppm", "pgm", "pbm", "pcx", "qoi", "sgi", "ico", "jp2", "avif"])
def test_what_is_only_read_becomes_a_png(tmp_path: Path, nearest: Any, patches: Bytes, suffix: str) -> None:
    image = Image.fromarray(patches).convert({"pgm": "L", "pbm": "1"}.get(suffix, "RGB"))
    options = {"ico": {"sizes": [(96, 16)], "bitmap_format": "bmp"}, "avif": {"quality": 100, "subsampling": "4:4:4"}}
    image.save(tmp_path / f"in.{suffix}", **options.get(suffix, {}))
    result = enhance_file(tmp_path / f"in.{suffix}", tmp_path / "out.png", nearest)
    out = np.asarray(Image.open(tmp_path / "out.png").convert("RGB")).astype(int)
    expected = np.asarray(image.convert("RGB")).repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(out - expected).mean() <= (2 if suffix == "avif" else 0)
    assert any("is read but not written" in note for note in result.notes)


def test_sixteen_bits_of_a_pgm_stay(tmp_path: Path, nearest: Any) -> None:
    levels = np.random.default_rng(0).integers(0, 1000, (5, 7)).astype(">u2")
    (tmp_path / "in.pgm").write_bytes(b"P5 7 5 999\n" + levels.tobytes())
    enhance_file(tmp_path / "in.pgm", tmp_path / "out.png", nearest)
    out = np.asarray(Image.open(tmp_path / "out.png"))[::2, ::2].astype(int)
    assert np.abs(out - np.rint(levels * 65535.0 / 999)).max() <= 1


def test_sixteen_bits_of_a_ppm_stay(tmp_path: Path, nearest: Any) -> None:
    levels = np.random.default_rng(0).integers(0, 4096, (5, 7, 3)).astype(">u2")
    (tmp_path / "in.ppm").write_bytes(b"P6 7 5 4095\n" + levels.tobytes())
    enhance_file(tmp_path / "in.ppm", tmp_path / "out.tif", nearest)
    out = np.asarray(pyvips.Image.new_from_file(str(tmp_path / "out.tif")))[::2, ::2].astype(int)
    assert np.abs(out - np.rint(levels * 65535.0 / 4095)).max() <= 1


@pytest.mark.parametrize(("bits", "samples"), [(8, 1), (8, 3)])
def test_a_photoshop_document_is_read_as_flattened(tmp_path: Path, nearest: Any, bits: int, samples: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (samples, 4, 6), dtype=np.uint8)
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, samples, 4, 6, bits, 3 if samples == 3 else 1)
    (tmp_path / "in.psd").write_bytes(header + bytes(12) + b"\0\0" + pixels.tobytes())
    enhance_file(tmp_path / "in.psd", tmp_path / "out.png", nearest)
    out = np.asarray(Image.open(tmp_path / "out.png")).reshape(8, 12, samples)
    assert (out[::2, ::2] == pixels.transpose(1, 2, 0)).all()


@pytest.mark.parametrize("bits", [10, 12])
def test_whoever_loses_bits_of_an_avif_is_told(tmp_path: Path, nearest: Any, bits: int) -> None:
    ramp = np.linspace(0, 65535, 96 * 16 * 3).reshape(16, 96, 3).astype(np.uint16)
    image = pyvips.Image.new_from_array(ramp, interpretation="rgb16")
    image.heifsave(str(tmp_path / "in.avif"), compression="av1", bitdepth=bits, Q=90)
    enhanced = enhance_file(tmp_path / "in.avif", tmp_path / "out.png", nearest)
    assert f"{bits} bits per sample became 8. Convert it to PNG or TIFF to keep them." in enhanced.notes


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
def test_whoever_loses_bits_of_a_jpeg_2000_is_told(tmp_path: Path, nearest: Any, suffix: str) -> None:
    Image.new("RGB", (32, 32), (9, 8, 7)).save(tmp_path / f"in.{suffix}")
    written = bytearray((tmp_path / f"in.{suffix}").read_bytes())
    components = written.index(b"\xff\x4f\xff\x51") + 42
    for component in range(3):
        written[components + 3 * component] = 16 - 1
    (tmp_path / f"in.{suffix}").write_bytes(written)
    enhanced = enhance_file(tmp_path / f"in.{suffix}", tmp_path / "out.png", nearest)
    assert "16 bits per sample became 8. Convert it to PNG or TIFF to keep them." in enhanced.notes
    Image.new("RGB", (32, 32)).save(tmp_path / f"plain.{suffix}")
    plain = enhance_file(tmp_path / f"plain.{suffix}", tmp_path / "plain.png", nearest)
    assert not any("bits" in note for note in plain.notes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_its_viewers_turn_it(tmp_path: Path, nearest: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters = np.zeros((16, 24, 3), np.uint8)
    quarters[:8, :12], quarters[8:, :12], quarters[:8, 12:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    Image.fromarray(quarters).save(tmp_path / "in.avif", exif=exif, quality=100)
    enhance_file(tmp_path / "in.avif", tmp_path / "out.png", nearest)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "in.avif")).convert("RGB")
    seen = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert np.abs(seen - np.asarray(expected.resize((expected.width * 2, expected.height * 2), 0))).mean() < 4


def test_a_file_without_any_suffix_is_told_by_its_content(tmp_path: Path, nearest: Any, patches: Bytes) -> None:
    buffer = io.BytesIO()
    Image.fromarray(patches).save(buffer, "JPEG")
    (tmp_path / "scan").write_bytes(buffer.getvalue())
    result = enhance_file(tmp_path / "scan", tmp_path / "scan.png", nearest)
    assert (result.out_width, result.out_height) == (192, 32)
