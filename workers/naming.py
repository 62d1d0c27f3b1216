"""Results keep the names people gave their images; this decides the few names that must change, before any
work."""

from collections.abc import Sequence
from pathlib import PurePosixPath

# The first suffix of each format is the one that a changed name gets.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
_FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}


def format_of(name: str) -> str | None:
    """The format ("PNG", "JPEG", …) that a file name asks for by its suffix, in any case; None for any
    other."""
    return _FORMAT_OF_SUFFIX.get(PurePosixPath(name).suffix.lower())


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image. What it really is, its content will tell."""
    return format_of(name) is not None


def known_format(wish: str) -> str:
    """The format that a person means by "png", ".JPG", "tiff"…; ValueError with a sentence for any other
    word."""
    word = "." + wish.strip().lower().removeprefix(".")
    if word not in _FORMAT_OF_SUFFIX:
        allowed = ", ".join(name.lower() for name in SUFFIXES)
        raise ValueError(f'"{wish}" is not a format that can be written; allowed are {allowed}.')
    return _FORMAT_OF_SUFFIX[word]


def output_names(names: Sequence[str], output_format: str | None) -> dict[str, str]:
    """Give each image (a relative POSIX name) the name of its result, such that no two results clash.

    A name stays as it is unless `output_format` asks for another format: then only the suffix changes. Names
    that would clash, also on a file system that ignores case, keep their old suffix inside the new one:
    `a.gif` and `a.jpg` as PNG become `a.gif.png` and `a.jpg.png`. What clashes even then is numbered. An
    image that keeps its name is never renamed for one that does not. The answer does not depend on the
    order.

    Raises ValueError for an `output_format` that is not written.
    """
    wished = None if output_format is None else known_format(output_format)
    distinct = sorted(set(names))
    unchanged = [name for name in distinct if wished is None or format_of(name) == wished]
    result: dict[str, str] = {}
    taken: set[str] = set()
    for name in unchanged:
        result[name] = _free(name, taken)
        taken.add(result[name].casefold())
    if wished is None:
        return result
    suffix = SUFFIXES[wished][0]
    changed = [name for name in distinct if name not in result]
    short = {name: str(PurePosixPath(name).with_suffix(suffix)) for name in changed}
    claims = [candidate.casefold() for candidate in short.values()]
    for name in changed:
        alone = claims.count(short[name].casefold()) == 1 and short[name].casefold() not in taken
        result[name] = _free(
            short[name] if alone else name + suffix, taken | (set(claims) if not alone else set())
        )
        taken.add(result[name].casefold())
    return result


def _free(name: str, taken: set[str]) -> str:
    """`name` itself, or the first of `name-2`, `name-3`, … (before the suffix) that nobody has."""
    path, number = PurePosixPath(name), 1
    candidate = name
    while candidate.casefold() in taken:
        number += 1
        candidate = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return candidate
