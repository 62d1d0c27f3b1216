"""What libvips does not tell of a TIFF: whether it is camera raw, or lossy, or ends early."""

from dataclasses import dataclass
from pathlib import Path

from workers.codec.directory import DirectoryError, entries, layout, next_directory

_SMALLER_COPY, _MASK = 1, 4
_MOST_PAGES = 10_000
_NEW_SUBFILE_TYPE, _COMPRESSION, _DNG_VERSION = 254, 259, 50706
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_LOSSY = {6, 7, 33003, 33005, 34712, 34892, 50001}  # JPEG, JPEG 2000, lossy DNG, WebP


@dataclass(frozen=True)
class Facts:
    """Of the first directory of a TIFF file."""

    lossless: bool
    camera_raw: bool


def facts(path: Path) -> Facts | None:
    """Read the first directory; None when it cannot be read (the decoder will say why)."""
    try:
        tags = _tags(path)
    except DirectoryError:
        return None
    return Facts(
        lossless=not _LOSSY.intersection(tags.get(_COMPRESSION, ())),
        # A raw file shows a small preview in its first directory; enlarging that would pass for the photo.
        camera_raw=_DNG_VERSION in tags or bool(tags.get(_NEW_SUBFILE_TYPE, (0,))[0] & 1),
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


def _tags(path: Path) -> dict[int, tuple[int, ...]]:
    with path.open("rb") as file:
        shape = layout(file)
        return {entry.tag: entry.values for entry in entries(file, shape, shape.first)}
