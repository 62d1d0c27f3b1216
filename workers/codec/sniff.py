"""Names lie and content does not: this tells from a file's first bytes what it is, and refuses early what
is no image."""

from pathlib import Path

from workers.rejects import Rejected, RejectReason

_PNG = b"\x89PNG\r\n\x1a\n"
_SUPPORTED: tuple[tuple[str, int, bytes], ...] = (
    ("PNG", 0, _PNG),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("WEBP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
)
_UNSUPPORTED: tuple[tuple[str, int, bytes], ...] = (
    ("a HEIC or AVIF image", 4, b"ftypheic"),
    ("a HEIC or AVIF image", 4, b"ftypheix"),
    ("a HEIC or AVIF image", 4, b"ftypmif1"),
    ("a HEIC or AVIF image", 4, b"ftypmsf1"),
    ("a HEIC or AVIF image", 4, b"ftypavif"),
    ("a HEIC or AVIF image", 4, b"ftypavis"),
    ("a camera raw file", 4, b"ftypcrx "),
    ("a camera raw file", 8, b"CR\x02"),
    ("a camera raw file", 0, b"FUJIFILMCCD-RAW"),
    ("a PDF document", 0, b"%PDF"),
    ("a PostScript document", 0, b"%!PS"),
    ("a Photoshop document", 0, b"8BPS"),
    ("a GIMP document", 0, b"gimp xcf"),
    ("an icon file", 0, b"\0\0\1\0"),
    ("a JPEG 2000 image", 0, b"\0\0\0\x0cjP  "),
    ("a JPEG 2000 image", 0, b"\xff\x4f\xff\x51"),
    ("a JPEG XL image", 0, b"\xff\x0a"),
    ("a JPEG XL image", 0, b"\0\0\0\x0cJXL "),
    ("an OpenEXR image", 0, b"\x76\x2f\x31\x01"),
    ("a Radiance HDR image", 0, b"#?RADIANCE"),
    ("a DirectDraw texture", 0, b"DDS "),
    ("a QOI image", 0, b"qoif"),
    ("an MNG animation", 0, b"\x8aMNG"),
    ("a JNG image", 0, b"\x8bJNG"),
)
_ADVICE = "Convert it to PNG, JPEG, WebP, TIFF, BMP or GIF and send it again."
# Sizes that the second header of a BMP may have; "BM" alone begins many a text.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(path: Path) -> str:
    """The format of the file at `path` ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF") by its content.

    Raises Rejected: MISSING, NO_PERMISSION, EMPTY, NOT_AN_IMAGE, UNSUPPORTED_FORMAT, or DAMAGED for a PNG
    whose signature is broken. Any other OSError (a disk that fails) passes through: it says nothing about
    the image.
    """
    head = _first_bytes(path)
    for what, start, magic in _UNSUPPORTED:
        if head[start:].startswith(magic):
            raise Rejected(RejectReason.UNSUPPORTED_FORMAT, f"{path.name} is {what}. {_ADVICE}")
    for name, start, magic in _SUPPORTED:
        if head[start:].startswith(magic):
            return name
    if head[:2] == b"BM" and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if b"<svg" in head.lower():
        raise Rejected(RejectReason.UNSUPPORTED_FORMAT, f"{path.name} is an SVG drawing. {_ADVICE}")
    if head[:1] == b"P" and head[1:2] in b"1234567Ff" and head[2:3].isspace():
        raise Rejected(RejectReason.UNSUPPORTED_FORMAT, f"{path.name} is a PNM image. {_ADVICE}")
    if _nearly_png(head):
        raise Rejected(
            RejectReason.DAMAGED,
            f"{path.name} was a PNG, but its signature is broken (a transfer in text mode?). Send it again.",
        )
    raise Rejected(RejectReason.NOT_AN_IMAGE, f"{path.name} is not an image: its content is of no known format.")


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except (FileNotFoundError, NotADirectoryError):
        raise Rejected(RejectReason.MISSING, f"{path.name} is not there (any more).") from None
    except IsADirectoryError:
        raise Rejected(RejectReason.NOT_AN_IMAGE, f"{path.name} is a folder, not an image.") from None
    except PermissionError:
        raise Rejected(RejectReason.NO_PERMISSION, f"{path.name} may not be read: check its permissions.") from None
    if not head:
        raise Rejected(RejectReason.EMPTY, f"{path.name} is empty (0 bytes). Perhaps its copying was interrupted.")
    return head


def _nearly_png(head: bytes) -> bool:
    signature = head[:8].ljust(8, b"\0")
    same = sum(a == b for a, b in zip(signature, _PNG, strict=True))
    return (same >= 6 or b"PNG" in signature) and b"IHDR" in head[:32]
