"""Odd files, made by hand, each with what must happen to it: the size and kind of its result, or the reason why not."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from workers.enhance import enhance_file
from workers.rejects import Rejected, RejectReason

pytestmark = pytest.mark.timeout(20)

_PIXELS = np.random.default_rng(4).integers(0, 256, (6, 8, 4), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
_RGB = Image.fromarray(_PIXELS[..., :3])
_FINE = (64, 48)
"""The size of a result of the picture above."""


def _as(format: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(_PIXELS) if mode == "RGBA" else _RGB.convert(mode)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_JPEG, _PNG, _GIF, _TIFF, _BMP = _as("JPEG"), _as("PNG"), _as("GIF"), _as("TIFF"), _as("BMP")
_FRAME = _JPEG.index(b"\xff\xc0")
"""Where the header of the JPEG's frame is: marker, length, bits, height, width, components."""


def _put(content: bytes, at: int, data: bytes) -> bytes:
    return content[:at] + data + content[at + len(data) :]


def _after_header(*chunks: bytes) -> bytes:
    return _PNG[:33] + b"".join(chunks) + _PNG[33:]


def _adobe(transform: int | None) -> bytes:
    """A CMYK JPEG whose Adobe marker says this, or is missing."""
    content = _as("JPEG", "CMYK")
    at = content.index(b"\xff\xee")
    end = at + 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return content[:at] + content[end:] if transform is None else _put(content, end - 1, bytes([transform]))


def _bmp(bits: int, compression: int, data: bytes, extra: bytes = b"", height: int = 24) -> bytes:
    start = 54 + len(extra)
    header = struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start)
    return (
        header + struct.pack("<IiiHHIIiiII", 40, 32, height, 1, bits, compression, len(data), 0, 0, 0, 0) + extra + data
    )


def _vips(suffix: str, **options: Any) -> bytes:
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(_PIXELS[..., :3]), 32, 24, 3, "uchar")
    content: bytes = image.copy(interpretation="srgb").write_to_buffer(suffix, **options)
    return content


_MASKS = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
_PALETTE = bytes(1024)
_GOOD: dict[str, tuple[bytes, str]] = {
    "jpeg with rubbish behind it.jpg": (_JPEG + b"rubbish" * 9, "RGB"),
    "jpeg twice in a file.jpg": (_JPEG + _JPEG, "RGB"),
    "jpeg without its JFIF segment.jpg": (_JPEG[:2] + _JPEG[20:], "RGB"),
    "progressive.jpg": (_as("JPEG", progressive=True), "RGB"),
    "grey.jpg": (_as("JPEG", "L"), "L"),
    "cmyk of Adobe.jpg": (_adobe(0), "CMYK"),
    "cmyk without marker.jpg": (_adobe(None), "CMYK"),
    "ycck.jpg": (_adobe(2), "CMYK"),
    "restart markers.jpg": (_as("JPEG", restart_marker_rows=1), "RGB"),
    "jpeg with a comment.jpg": (_as("JPEG", comment=b"hello"), "RGB"),
    "jpeg named.png": (_JPEG, "RGB"),
    "png named.jpg": (_PNG, "RGB"),
    "gif named.png": (_GIF, "RGB"),
    "png with rubbish behind it.png": (_PNG + b"rubbish" * 9, "RGB"),
    "png with a private chunk.png": (_after_header(_chunk(b"prVt", b"x" * 9)), "RGB"),
    "png with the gamma of linear light.png": (_after_header(_chunk(b"gAMA", struct.pack(">I", 100_000))), "RGB"),
    "png with gamma nought.png": (_after_header(_chunk(b"gAMA", bytes(4))), "RGB"),
    "png with a broken profile.png": (_after_header(_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))), "RGB"),
    "png with a profile that does not unpack.png": (_after_header(_chunk(b"iCCP", b"x\0\0rubbish")), "RGB"),
    "png that says it is animated, and is not.png": (_after_header(_chunk(b"acTL", struct.pack(">II", 5, 0))), "RGB"),
    "palette.png": (_as("PNG", "P"), "RGB"),
    "one bit.png": (_as("PNG", "1"), "L"),
    "interlaced.png": (_vips(".png", interlace=True), "RGB"),
    "gif with rubbish behind it.gif": (_GIF + b"rubbish", "P"),
    "lossy.webp": (_as("WEBP"), "RGB"),
    "alpha.webp": (_as("WEBP", "RGBA"), "RGBA"),
    "tiles.tif": (_vips(".tif", tile=True, tile_width=16, tile_height=16), "RGB"),
    "big.tif": (_vips(".tif", bigtiff=True), "RGB"),
    "pyramid.tif": (_vips(".tif", tile=True, tile_width=16, tile_height=16, pyramid=True), "RGB"),
    "fax.tif": (_as("TIFF", "1", compression="group4"), "L"),
    "zstd.tif": (_as("TIFF", compression="zstd"), "RGB"),
    "jpeg inside.tif": (_as("TIFF", compression="jpeg"), "RGB"),
    "sixteen bits a pixel.bmp": (_bmp(16, 0, bytes(32 * 24 * 2)), "RGB"),
    "masks.bmp": (_bmp(16, 3, bytes(32 * 24 * 2), _MASKS), "RGB"),
    "from top to bottom.bmp": (_bmp(24, 0, bytes(32 * 24 * 3), height=-24), "RGB"),
    "run lengths.bmp": (_bmp(8, 1, b"\x20\7\0\0" * 24 + b"\0\1", _PALETTE), "RGB"),
    "bmp of OS 2.bmp": (
        struct.pack("<2sIHHI", b"BM", 26 + 32 * 24 * 3, 0, 0, 26)
        + struct.pack("<IHHHH", 12, 32, 24, 1, 24) + bytes(32 * 24 * 3),
        "RGB",
    ),
    "text.ppm": (b"P3\n# a comment\n32 24\n255\n" + b"1 2 3\n" * (32 * 24), "RGB"),
    "one bit.pbm": (b"P4 32 24\n" + bytes(4 * 24), "L"),
    "icon.ico": (_as("ICO", "RGBA", sizes=[(32, 24)]), "RGBA"),
    "ünï 한 'quoted' \"name\" #1 %20.png": (_PNG, "RGB"),
    "-dash.png": (_PNG, "RGB"),
    "no suffix at all": (_JPEG, "RGB"),
}  # fmt: skip
_BAD: dict[str, tuple[bytes, RejectReason]] = {
    "nothing.jpg": (b"", RejectReason.EMPTY),
    "text.jpg": (b"Dear Sir or Madam", RejectReason.NOT_AN_IMAGE),
    "page.png": (b"<!DOCTYPE html><html><body>404</body></html>", RejectReason.NOT_AN_IMAGE),
    "noughts.tif": (bytes(5000), RejectReason.NOT_AN_IMAGE),
    "archive.png": (b"PK\3\4" + bytes(90), RejectReason.NOT_AN_IMAGE),
    "sound.webp": (b"RIFF\x40\0\0\0WAVEfmt " + bytes(60), RejectReason.NOT_AN_IMAGE),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", RejectReason.UNSUPPORTED_FORMAT),
    "telephone.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", RejectReason.UNSUPPORTED_FORMAT),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(40), RejectReason.UNSUPPORTED_FORMAT),
    "xl.png": (b"\xff\x0a" + bytes(40), RejectReason.UNSUPPORTED_FORMAT),
    "texture.png": (b"DDS " + bytes(124), RejectReason.UNSUPPORTED_FORMAT),
    "stars.tif": (b"SIMPLE  =                    T", RejectReason.UNSUPPORTED_FORMAT),
    "jpeg without an end.jpg": (_JPEG[:-2], RejectReason.TRUNCATED),
    "jpeg cut in the middle.jpg": (_JPEG[: len(_JPEG) // 2], RejectReason.TRUNCATED),
    "jpeg of 12 bits.jpg": (_put(_JPEG, _FRAME + 4, b"\x0c"), RejectReason.UNSUPPORTED_PIXELS),
    "hierarchical.jpg": (_put(_JPEG, _FRAME + 1, b"\xc5"), RejectReason.UNSUPPORTED_PIXELS),
    "jpeg without height.jpg": (_put(_JPEG, _FRAME + 5, b"\0\0"), RejectReason.ZERO_SIZE),
    "jpeg without width.jpg": (_put(_JPEG, _FRAME + 7, b"\0\0"), RejectReason.ZERO_SIZE),
    "enormous.jpg": (_put(_JPEG, _FRAME + 5, b"\xff\xdc\xff\xdc"), RejectReason.TOO_LARGE),
    "jpeg of two colours.jpg": (_put(_JPEG, _FRAME + 9, b"\2"), RejectReason.DAMAGED),
    "only a start.jpg": (b"\xff\xd8\xff", RejectReason.TRUNCATED),
    "cut before its end.png": (_PNG[:-13], RejectReason.TRUNCATED),
    "no pixels.png": (_PNG[:33] + _chunk(b"IEND", b""), RejectReason.DAMAGED),
    "header twice.png": (_PNG[:33] + _PNG[8:], RejectReason.DAMAGED),
    "in text mode.png": (_PNG.replace(b"\r\n", b"\n", 1), RejectReason.DAMAGED),
    "cut.gif": (_GIF[:60], RejectReason.TRUNCATED),
    "cut.webp": (_as("WEBP")[:40], RejectReason.TRUNCATED),
    "cut.tif": (_TIFF[:100], RejectReason.TRUNCATED),
    "leads nowhere.tif": (b"II*\0\xff\xff\xff\x7f", RejectReason.TRUNCATED),
    "compression of nobody.tif": (
        _TIFF.replace(struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 999, 0)),
        RejectReason.UNSUPPORTED_PIXELS,
    ),
    "old jpeg inside.tif": (
        _TIFF.replace(struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 6, 0)),
        RejectReason.UNSUPPORTED_PIXELS,
    ),
    "without width.bmp": (_put(_BMP, 18, bytes(4)), RejectReason.ZERO_SIZE),
    "cut in its header.bmp": (_BMP[:20], RejectReason.TRUNCATED),
    "cut.bmp": (_BMP[:200], RejectReason.TRUNCATED),
    "jpeg inside.bmp": (_put(_BMP, 30, b"\4"), RejectReason.UNSUPPORTED_PIXELS),
    "three bits a pixel.bmp": (_put(_BMP, 28, b"\3\0"), RejectReason.UNSUPPORTED_PIXELS),
    "cut.ppm": (b"P6 32 24 255\n" + bytes(99), RejectReason.TRUNCATED),
    "cut.avif": (_as("AVIF")[:200], RejectReason.TRUNCATED),
    "numbers.pfm.ppm": (b"PF\n2 2\n-1.0\n" + bytes(48), RejectReason.NOT_AN_IMAGE),
}


def _target(folder: Path, name: str) -> Path:
    return folder / (
        f"out{Path(name).suffix}" if Path(name).suffix in (".jpg", ".gif", ".webp", ".tif", ".bmp") else "out.png"
    )


@pytest.fixture(params=sorted(_GOOD | _BAD))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name: str = request.param
    (tmp_path / name).write_bytes((_GOOD | _BAD)[name][0])
    return tmp_path / name


def test_each_odd_file_has_the_end_that_is_written_here(odd: Path, nearest: Any) -> None:
    target = _target(odd.parent, odd.name)
    if odd.name in _BAD:
        with pytest.raises(Rejected) as refusal:
            enhance_file(odd, target, nearest)
        assert refusal.value.reason is _BAD[odd.name][1]
        assert odd.name in refusal.value.message
        assert list(odd.parent.iterdir()) == [odd]
        return
    enhance_file(odd, target, nearest)
    with Image.open(target) as out:
        out.load()
        assert (out.size, out.mode) == (_FINE, _GOOD[odd.name][1])
        with Image.open(odd) as image:  # Pillow judges the colours
            expected = np.asarray(image.convert("RGBA")).repeat(2, axis=0).repeat(2, axis=1).astype(int)
        visible = expected[..., 3] > 0
        assert np.abs(np.asarray(out.convert("RGBA")) - expected)[visible].mean() < 8
