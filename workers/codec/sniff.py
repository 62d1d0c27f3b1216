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
    ("ICO", 0, b"\0\0\1\0"),
    ("CUR", 0, b"\0\0\2\0"),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("AVIF", 4, b"ftypavif"),
    ("AVIF", 4, b"ftypavis"),
    ("QOI", 0, b"qoif"),
    ("PSD", 0, b"8BPS\0\1"),
    ("SGI", 0, b"\x01\xda"),
)
_UNSUPPORTED: tuple[tuple[str, int, bytes], ...] = (
    ("a HEIC image", 4, b"ftyphe"),
    ("a HEIC image", 4, b"ftypmsf1"),
    ("a camera raw file", 4, b"ftypcrx "),
    ("a video", 4, b"ftypqt"),
    ("a video", 4, b"ftypmp4"),
    ("a video", 4, b"ftypiso"),
    ("a video", 4, b"ftyp3g"),
    ("a video", 4, b"ftypM4V"),
    ("a video", 0, b"\x1aE\xdf\xa3"),
    ("a video", 8, b"AVI LIST"),
    ("a camera raw file", 8, b"CR\x02"),
    ("a camera raw file", 0, b"FUJIFILMCCD-RAW"),
    ("a PDF document", 0, b"%PDF"),
    ("a PostScript document", 0, b"%!PS"),
    ("a large Photoshop document", 0, b"8BPS\0\2"),
    ("a GIMP document", 0, b"gimp xcf"),
    ("a JPEG XL image", 0, b"\xff\x0a"),
    ("a JPEG XL image", 0, b"\0\0\0\x0cJXL "),
    ("an OpenEXR image", 0, b"\x76\x2f\x31\x01"),
    ("a Radiance HDR image", 0, b"#?RADIANCE"),
    ("a DirectDraw texture", 0, b"DDS "),
    ("an MNG animation", 0, b"\x8aMNG"),
    ("a JNG image", 0, b"\x8bJNG"),
    ("an animated cursor", 8, b"ACON"),
    ("a FITS image", 0, b"SIMPLE  ="),
    ("a Sun raster image", 0, b"\x59\xa6\x6a\x95"),
    ("an XPM image", 0, b"/* XPM"),
    ("a DjVu document", 0, b"AT&TFORM"),
    ("a FLIF image", 0, b"FLIF"),
    ("a Windows metafile", 0, b"\xd7\xcd\xc6\x9a"),
    ("a Windows metafile", 40, b" EMF"),
    ("an icon of macOS", 0, b"icns"),
    ("a WordPerfect drawing", 0, b"\xffWPC"),
    ("a DPX image", 0, b"SDPX"),
    ("a DPX image", 0, b"XPDS"),
)
_ADVICE = "Convert it to PNG, JPEG, WebP, TIFF, BMP or GIF and send it again."
_PNM_KINDS = (b"1", b"2", b"3", b"4", b"5", b"6")
# Sizes that the second header of a BMP may have; "BM" alone begins many a text.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(path: Path) -> str:
    """The format of the file at `path` ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"…) by its content.

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
    if head[:1] == b"P" and head[1:2] in _PNM_KINDS and head[2:3].isspace():
        return "PNM"
    if head[4:12] == b"ftypmif1":  # said by AVIF and HEIC alike; what else the file is compatible with tells them apart
        if b"avif" in head[12:64]:
            return "AVIF"
        raise Rejected(RejectReason.UNSUPPORTED_FORMAT, f"{path.name} is a HEIC image. {_ADVICE}")
    if head[:1] == b"\n" and head[1:2] in (b"\0", b"\2", b"\3", b"\5") and head[2:3] == b"\1" and len(head) >= 128:
        return "PCX"
    if _nearly_png(head):
        raise Rejected(
            RejectReason.DAMAGED,
            f"{path.name} was a PNG, but its signature is broken (a transfer in text mode?). Send it again.",
        )
    raise Rejected(
        RejectReason.NOT_AN_IMAGE,
        f"{path.name} is not an image: its content is of no known format. Export it again, or leave it out.",
    )


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
