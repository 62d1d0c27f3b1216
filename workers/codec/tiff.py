"""What libvips does not tell of a TIFF: whether it is camera raw, or lossy, or ends early."""

from dataclasses import dataclass
from pathlib import Path

from workers.codec.directory import DirectoryError, directory_of_page, entries, layout, next_directory

_OLD_JPEG, _JPEG = 6, 7
_FOR_PILLOW = {34925: "LZMA", 50000: "Zstandard"}
_YCBCR, _LAB = 6, (8, 9)
_SMALLER_COPY, _MASK = 1, 4
_MOST_PAGES = 10_000
_NEW_SUBFILE_TYPE, _COMPRESSION, _DNG_VERSION = 254, 259, 50706
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_LOSSY = {6, 7, 33003, 33005, 34712, 34892, 50001}  # JPEG, JPEG 2000, lossy DNG, WebP


@dataclass(frozen=True)
class Facts:
    """Of one directory of a TIFF file; 0 for what it does not say."""

    lossless: bool
    camera_raw: bool
    width: int
    height: int
    bits: int
    samples: int
    compression: int
    photometric: int
    orientation: int

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow reads it, and libvips not, or in wrong colours."""
        return (
            self.compression in _FOR_PILLOW
            or (self.photometric in _LAB and self.bits == 8)
            or (self.photometric == _YCBCR and self.compression not in (_OLD_JPEG, _JPEG))
            or (self.bits == 12 and self.samples == 1)
        )

    @property
    def rare(self) -> str:
        """What of it nobody here reads; empty if there is nothing."""
        if self.compression == _OLD_JPEG:
            return "old-style JPEG compression"
        if self.compression in _FOR_PILLOW and (self.bits > 16 or (self.bits > 8 and self.samples > 1)):
            return f"{_FOR_PILLOW[self.compression]} compression with {self.bits} bits per sample"
        if self.bits == 12 and self.samples == 1 and self.compression != 7:
            return ""
        if self.bits not in (1, 2, 4, 8, 16, 32, 64) or (self.bits < 8 and self.samples > 1):
            return f"{self.samples} samples of {self.bits} bits"
        return ""


def facts(path: Path, page: int = 0) -> Facts | None:
    """Read the directory of a page; None when it cannot be read (the decoder will say why)."""
    try:
        tags = _tags(path, page)
    except DirectoryError:
        return None

    def first(tag: int, default: int = 0) -> int:
        return (tags.get(tag) or (default,))[0]

    return Facts(
        lossless=not _LOSSY.intersection(tags.get(_COMPRESSION, ())),
        # A raw file shows a small preview in its first directory; enlarging that would pass for the photo.
        camera_raw=page == 0 and (_DNG_VERSION in tags or bool(first(_NEW_SUBFILE_TYPE) & _SMALLER_COPY)),
        width=first(256),
        height=first(257),
        bits=first(258, 1),
        samples=first(277, 1),
        compression=first(_COMPRESSION, 1),
        photometric=first(262),
        orientation=first(274, 1),
    )


def page_numbers(path: Path) -> tuple[int, ...]:
    """The pages that are pictures of their own: neither smaller copies of others nor masks. At least (0,).

    Pages behind a directory that cannot be read do not count.
    """
    found, number = [], 0
    try:
        with path.open("rb") as file:
            shape = layout(file)
            offset, seen = shape.first, set()
            while offset and offset not in seen and number < _MOST_PAGES:
                seen.add(offset)
                kinds = [entry.values for entry in entries(file, shape, offset) if entry.tag == _NEW_SUBFILE_TYPE]
                if not any(values and values[0] & (_SMALLER_COPY | _MASK) for values in kinds):
                    found.append(number)
                offset = next_directory(file, shape, offset)
                number += 1
    except DirectoryError:
        pass
    return tuple(found) or (0,)


def is_cut_off(path: Path) -> bool:
    """Whether the file ends before its directory or before the pixels that its directory points to."""
    try:
        tags = _tags(path)
    except DirectoryError:
        return True
    size = path.stat().st_size
    return any(
        offset + length > size
        for where, how_long in zip(_OFFSETS, _LENGTHS, strict=True)
        for offset, length in zip(tags.get(where, ()), tags.get(how_long, ()), strict=False)
    )


def _tags(path: Path, page: int = 0) -> dict[int, tuple[int, ...]]:
    with path.open("rb") as file:
        shape = directory_of_page(file, page)
        return {entry.tag: entry.values for entry in entries(file, shape, shape.first)}
