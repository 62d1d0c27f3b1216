"""What cannot be enhanced is refused quickly, with an enumerated reason and a sentence, and nothing is left behind."""

import contextlib
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.enhance import Limits, enhance_file
from workers.rejects import Rejected, RejectReason

pytestmark = pytest.mark.timeout(30)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CONTENTS = {
    b"": RejectReason.EMPTY,
    b"hello, this is no image at all": RejectReason.NOT_AN_IMAGE,
    b"BM is how this text begins, and it is no bitmap": RejectReason.NOT_AN_IMAGE,
    b"PK\x03\x04" + bytes(60): RejectReason.NOT_AN_IMAGE,
    b"%PDF-1.7 ...": RejectReason.UNSUPPORTED_FORMAT,
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>': (
        RejectReason.UNSUPPORTED_FORMAT
    ),
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": RejectReason.UNSUPPORTED_FORMAT,
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic": RejectReason.UNSUPPORTED_FORMAT,
    b"\0\0\0\x14ftypqt  \0\0\0\0": RejectReason.UNSUPPORTED_FORMAT,
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1": RejectReason.TRUNCATED,
    b"8BPS\0\2" + bytes(20): RejectReason.UNSUPPORTED_FORMAT,
    b"8BPS\0\1" + bytes(20): RejectReason.DAMAGED,
    b"P6 2 2 255 12345": RejectReason.TRUNCATED,
    _SIGNATURE: RejectReason.TRUNCATED,
    b"\xff\xd8\xff\xe0": RejectReason.TRUNCATED,
    b"GIF89a": RejectReason.TRUNCATED,
    b"II*\0\x08\0\0\0": RejectReason.TRUNCATED,
    b"RIFF\x64\0\0\0WEBPVP8 ": RejectReason.TRUNCATED,
}


def _refused(source: Path, target: Path, upscaler: Any, limits: Limits = Limits()) -> RejectReason:
    before = set(target.parent.iterdir())
    with pytest.raises(Rejected) as refusal:
        enhance_file(source, target, upscaler, limits)
    assert set(target.parent.iterdir()) == before
    assert refusal.value.message.endswith(".")
    return refusal.value.reason


@pytest.mark.parametrize(("content", "reason"), list(_CONTENTS.items()))
def test_what_is_no_image_of_ours_is_told_by_its_content(
    tmp_path: Path, nearest: Any, content: bytes, reason: RejectReason
) -> None:
    (tmp_path / "in.png").write_bytes(content)
    assert _refused(tmp_path / "in.png", tmp_path / "out.png", nearest) is reason


def test_a_missing_file_a_folder_and_a_forbidden_file(tmp_path: Path, nearest: Any) -> None:
    (tmp_path / "folder.png").mkdir()
    assert _refused(tmp_path / "none.png", tmp_path / "out.png", nearest) is RejectReason.MISSING
    assert _refused(tmp_path / "folder.png", tmp_path / "out.png", nearest) is RejectReason.NOT_AN_IMAGE
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    secret.chmod(0)
    try:
        secret.read_bytes()
    except PermissionError:
        assert _refused(secret, tmp_path / "out.png", nearest) is RejectReason.NO_PERMISSION


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_was_cut_off(
    tmp_path: Path, nearest: Any, noise: NDArray[np.uint8], suffix: str, share: float
) -> None:
    whole = tmp_path / f"in.{suffix}"
    Image.fromarray(noise[..., :3].repeat(4, axis=0).repeat(4, axis=1)).save(whole)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    assert _refused(whole, tmp_path / "out.png", nearest) is RejectReason.TRUNCATED


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("tif", {"compression": "tiff_deflate"})])
def test_a_file_with_bytes_that_changed(
    tmp_path: Path, nearest: Any, noise: NDArray[np.uint8], suffix: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"in.{suffix}"
    Image.fromarray(noise[..., :3]).save(path, **options)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 16] = b"\x55" * 16
    path.write_bytes(content)
    assert _refused(path, tmp_path / "out.png", nearest) is RejectReason.DAMAGED


def _png(chunk: Callable[[bytes, bytes], bytes], width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_a_header_that_promises_more_than_there_is(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    path = tmp_path / "in.png"
    path.write_bytes(_png(chunk, 9_000, 9_000, bytes(500)))
    assert _refused(path, tmp_path / "out.png", nearest) is RejectReason.DAMAGED
    path.write_bytes(_png(chunk, 60_000, 60_000, bytes(500)))
    assert _refused(path, tmp_path / "out.png", nearest) is RejectReason.TOO_LARGE
    path.write_bytes(_png(chunk, 0, 5, bytes(6)))
    assert _refused(path, tmp_path / "out.png", nearest) is RejectReason.ZERO_SIZE
    path.write_bytes(_png(chunk, 1 << 31, 5, bytes(6)))
    assert _refused(path, tmp_path / "out.png", nearest) is RejectReason.DAMAGED


def test_a_gif_and_a_bmp_that_claim_to_be_enormous(tmp_path: Path, nearest: Any) -> None:
    for suffix in ("gif", "bmp"):
        Image.new("P", (8, 8)).save(tmp_path / f"in.{suffix}")
    gif, bmp = bytearray((tmp_path / "in.gif").read_bytes()), bytearray((tmp_path / "in.bmp").read_bytes())
    frame = gif.index(b",\0\0\0\0\x08\0\x08\0") + 5
    gif[6:10] = gif[frame : frame + 4] = struct.pack("<HH", 65_000, 65_000)
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    (tmp_path / "in.gif").write_bytes(gif)
    (tmp_path / "in.bmp").write_bytes(bmp)
    assert _refused(tmp_path / "in.gif", tmp_path / "out.png", nearest) is RejectReason.TOO_LARGE
    assert _refused(tmp_path / "in.bmp", tmp_path / "out.png", nearest) is RejectReason.TOO_LARGE
    bmp[18:26] = struct.pack("<ii", 15_000, 15_000)
    (tmp_path / "in.bmp").write_bytes(bmp)
    assert _refused(tmp_path / "in.bmp", tmp_path / "out.png", nearest) is RejectReason.TRUNCATED


def test_a_small_file_that_unpacks_into_gigapixels(tmp_path: Path, nearest: Any, chunk: Any) -> None:
    side = 30_000
    packer, row = zlib.compressobj(9), bytes(1 + side // 8)
    packed = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(_SIGNATURE + parts)
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    assert _refused(tmp_path / "bomb.png", tmp_path / "out.png", nearest) is RejectReason.TOO_LARGE


def test_the_limit_itself_is_allowed(tmp_path: Path, nearest: Any) -> None:
    Image.new("L", (20, 10)).save(tmp_path / "in.png")
    enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest, Limits(max_pixels=200))
    limits = Limits(max_pixels=199)
    assert _refused(tmp_path / "in.png", tmp_path / "no.png", nearest, limits) is RejectReason.TOO_LARGE


@pytest.mark.parametrize(("suffix", "width"), [("jpg", 32_751), ("webp", 8_192), ("gif", 32_768), ("JPEG", 40_000)])
def test_a_result_that_the_format_cannot_hold_is_refused_before_the_work(
    tmp_path: Path, nearest: Any, suffix: str, width: int
) -> None:
    Image.new("L", (width, 1)).save(tmp_path / "in.png")
    with pytest.raises(Rejected, match="PNG or TIFF") as refusal:
        enhance_file(tmp_path / "in.png", tmp_path / f"out.{suffix}", nearest)
    assert refusal.value.reason is RejectReason.RESULT_TOO_LARGE


def test_pixels_that_are_neither_8_nor_16_bits_of_colour(tmp_path: Path, nearest: Any) -> None:
    Image.new("I", (9, 9)).save(tmp_path / "in.tif")
    assert _refused(tmp_path / "in.tif", tmp_path / "out.png", nearest) is RejectReason.UNSUPPORTED_PIXELS


def test_floating_point_numbers_on_a_scale_that_nobody_knows(tmp_path: Path, nearest: Any) -> None:
    Image.new("F", (9, 9), 200.0).save(tmp_path / "in.tif")
    assert _refused(tmp_path / "in.tif", tmp_path / "out.png", nearest) is RejectReason.UNSUPPORTED_PIXELS


def test_a_directory_of_a_tiff_that_leads_astray_is_the_fault_of_the_file(tmp_path: Path, nearest: Any) -> None:
    """Not one of the disk, which would stop all images after it."""
    path = tmp_path / "in.tif"
    for offset in (1 << 41, 1 << 62, (1 << 64) - 1):
        path.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, offset) + bytes(64))
        assert _refused(path, tmp_path / "out.tif", nearest) in (RejectReason.TRUNCATED, RejectReason.DAMAGED)


@pytest.mark.parametrize("kind", ["avif", "jp2", "qoi", "ico", "pcx", "sgi", "ppm", "png", "gif", "webp", "tif"])
def test_whatever_byte_is_wrong_there_is_a_result_or_a_reason(
    tmp_path: Path, nearest: Any, noise: NDArray[np.uint8], kind: str
) -> None:
    path = tmp_path / f"in.{kind}"
    frames = [Image.fromarray(noise[:16, :16, :3]), Image.fromarray(noise[16:32, :16, :3])]
    frames[0].save(path, **({"save_all": True, "append_images": frames[1:]} if kind in "gif webp tif png" else {}))
    content = path.read_bytes()
    chance = np.random.default_rng(11)
    for _ in range(25):
        broken = bytearray(content)
        for place in chance.integers(0, len(content), 3):
            broken[place] = chance.integers(0, 256)
        path.write_bytes(broken[: chance.integers(len(content) // 2, 2 * len(content))])
        with contextlib.suppress(Rejected):
            enhance_file(path, tmp_path / "out.png", nearest, Limits(max_pixels=100_000))
    assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, "out.png"}


def test_the_preview_in_a_camera_raw_file_is_not_taken_for_the_photo(tmp_path: Path, nearest: Any) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "in.tif", tiffinfo={254: 1})
    assert _refused(tmp_path / "in.tif", tmp_path / "out.png", nearest) is RejectReason.UNSUPPORTED_FORMAT


def test_a_target_that_says_no_format(tmp_path: Path, nearest: Any) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "in.png")
    assert _refused(tmp_path / "in.png", tmp_path / "out.xyz", nearest) is RejectReason.UNSUPPORTED_OUTPUT
    assert enhance_file(tmp_path / "in.png", tmp_path / "out.xyz", nearest, output_format="tiff").format == "TIFF"
    with pytest.raises(ValueError, match="allowed are png"):
        enhance_file(tmp_path / "in.png", tmp_path / "out.png", nearest, output_format="heic")


def test_a_reject_survives_its_way_back_from_a_machine() -> None:
    copy = pickle.loads(pickle.dumps(Rejected(RejectReason.EMPTY, "x.png is empty.")))
    assert (copy.reason, str(copy)) == (RejectReason.EMPTY, "x.png is empty.")


def test_damaged_images_write_nothing_on_the_terminal(tmp_path: Path, noise: NDArray[np.uint8]) -> None:
    path = tmp_path / "in.jpg"
    Image.fromarray(noise[..., :3].repeat(9, axis=0)).save(path, progressive=True)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b"\0" * 300 + content[-2:])  # what a decoder warns of, but repairs
    tiff = tmp_path / "in.tif"
    Image.fromarray(noise[..., :3]).save(tiff, tiffinfo={60000: "a tag that nobody knows"})
    script = (
        "import sys; from pathlib import Path; from workers.enhance import enhance_file\n"
        "class Same:\n"
        "    scale, halo = 1, 0\n"
        "    def __call__(self, tiles): return tiles\n"
        "for name in sys.argv[1:]: enhance_file(Path(name), Path(name + '.png'), Same())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(tiff)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
