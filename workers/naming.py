"""Results keep the names people gave their images; this decides the few names that must change, before any
work."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import PurePosixPath

# The first suffix of each format is the one that a changed name gets.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
READ_ONLY = frozenset(
    {".avif", ".cur", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm"}
    | {".psd", ".qoi", ".sgi"}
)
"""Suffixes of images whose results are PNGs. Some (HEIC, JPEG XL) are known only to be set aside with a reason."""
RESERVED = frozenset({"report.html", "manifest.json"})
"""What we put beside the results of a batch; no result and no folder of results is called so, in any case."""
MAX_PART_BYTES = 255
"""What file systems take for one part of a name."""
MAX_NAME_BYTES = 900
"""For a whole name: stores take 1024 for a key, and the batch's name comes before it."""
_MAX_FOLDER_BYTES = MAX_NAME_BYTES - MAX_PART_BYTES - 1
_FORMAT_OF_SUFFIX = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}


def format_of(name: str) -> str | None:
    """The format ("PNG", "JPEG", …) that a file name asks for by its suffix, in any case; None for any
    other."""
    return _FORMAT_OF_SUFFIX.get(PurePosixPath(name).suffix.lower())


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image. What it really is, its content will tell."""
    return format_of(name) is not None or _is_read_only(name)


def _is_read_only(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in READ_ONLY


def known_format(wish: str) -> str:
    """The format that a person means by "png", ".JPG", "tiff"…; ValueError with a sentence for any other
    word."""
    word = "." + wish.strip().lower().removeprefix(".")
    if word not in _FORMAT_OF_SUFFIX:
        allowed = ", ".join(name.lower() for name in SUFFIXES)
        raise ValueError(f'"{wish}" is not a format that can be written; allowed are {allowed}.')
    return _FORMAT_OF_SUFFIX[word]


def output_names(
    names: Sequence[str], output_format: str | None, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Give each image (a relative POSIX name) the name of its result, such that no two results clash.

    A name stays as it is unless `output_format` asks for another format: then only the suffix changes. A name that
    says no format that is written becomes that of a PNG: `a.ppm` becomes `a.png`, `a.xyz` becomes `a.xyz.png`. Names
    that would clash, also on a file system that ignores case, keep their old suffix inside the new one:
    `a.gif` and `a.jpg` as PNG become `a.gif.png` and `a.jpg.png`. What clashes even then is numbered, and what
    is too long is cut before the suffix. An image that keeps its name is never renamed for one that does not.
    The answer does not depend on the order.

    Images in `known` keep the result names that they have there, and no other image gets one of those.

    Raises ValueError for an `output_format` that is not written.
    """
    wished = None if output_format is None else known_format(output_format)
    known = {} if known is None else known
    fresh = sorted(set(names) - known.keys())
    blocked = RESERVED | {result.casefold() for result in known.values()}
    folders = {folder: _folder(folder, blocked) for folder in {name.rpartition("/")[0] for name in fresh}}
    taken = set(blocked)
    for result_name in (*known.values(), *(f"{folder}/x" for folder in folders.values())):
        taken |= _folders_above(result_name)

    def placed(name: str, suffix: str) -> str:
        folder, _, base = name.rpartition("/")
        return _cut(f"{folders[folder]}/{base}" if folder else base, suffix)

    result = {name: known[name] for name in set(names) & known.keys()}
    for name in fresh:
        stated = format_of(name)
        if stated is not None and wished in (None, stated):
            result[name] = _free_file(placed(name, ""), taken.__contains__)
            taken.add(result[name].casefold())
    changed = [name for name in fresh if name not in result]
    new = SUFFIXES[wished or "PNG"][0]
    short = {name: placed(_without_suffix(name), new) for name in changed}
    claims = Counter(candidate.casefold() for candidate in short.values())
    for name in changed:
        folded = short[name].casefold()
        if claims[folded] == 1 and folded not in taken:
            result[name] = short[name]
        else:
            result[name] = _free_file(placed(name, new), lambda place: place in taken or place in claims)
        taken.add(result[name].casefold())
    return result


def _without_suffix(name: str) -> str:
    """The name without a suffix that says what image it is; any other suffix belongs to the name."""
    return str(PurePosixPath(name).with_suffix("")) if is_image_name(name) else name


def _free_file(name: str, is_taken: Callable[[str], bool]) -> str:
    suffix = PurePosixPath(name).suffix
    return _free(name.removesuffix(suffix), suffix, is_taken)


def _free(stem: str, suffix: str, is_taken: Callable[[str], bool]) -> str:
    """The name itself, or the first of `stem-2`, `stem-3`, … (before the suffix) that nobody has."""
    candidate, number = stem + suffix, 1
    while is_taken(candidate.casefold()):
        number += 1
        candidate = _cut(stem, f"-{number}{suffix}")
    return candidate


def _cut(name: str, suffix: str) -> str:
    """`name + suffix`, its last part cut before the (old or new) suffix to what a file system takes.

    A mark of the whole name takes the place of what is cut off, so that long names stay apart.
    """
    folder, slash, base = name.rpartition("/")
    if _size(base + suffix) <= MAX_PART_BYTES:
        return name + suffix
    if not suffix:
        suffix = PurePosixPath(base).suffix
        base = base.removesuffix(suffix)
    mark = f"-{_digest(base)}{suffix}"
    kept = base.encode(errors="surrogateescape")[: MAX_PART_BYTES - _size(mark)].decode(errors="ignore")
    return f"{folder}{slash}{kept}{mark}"


def _folder(folder: str, blocked: Set[str]) -> str:
    """The folder for the results of the images in `folder`: the same one, unless it is too long or blocked."""
    if _size(folder) > _MAX_FOLDER_BYTES:
        parts: list[str] = []
        for part in folder.split("/"):
            if _size("/".join([*parts, part, _digest(folder)])) > _MAX_FOLDER_BYTES:
                break
            parts.append(part)
        folder = "/".join([*parts, _digest(folder)])
    place = ""
    for part in folder.split("/"):
        place = _free(f"{place}/{part}" if place else part, "", blocked.__contains__)
    return place


def _folders_above(name: str) -> set[str]:
    return {str(above).casefold() for above in PurePosixPath(name).parents if above.name}


def _size(name: str) -> int:
    return len(name.encode(errors="surrogateescape"))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
