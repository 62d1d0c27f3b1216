"""What a batch asks for in its batch.toml, checked word by word: a typo found at night is found too late."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from infra.arrivals.names import unprintable
from infra.arrivals.reasons import WishError

FORMATS = ("png", "jpeg", "webp", "tiff", "bmp", "gif")
SAME = "same"
SCALES = range(2, 9)
_ALIASES = {"jpg": "jpeg", "tif": "tiff"}
_MAX_BYTES = 64 * 1024
_MAX_TEXT = {"model": 500, "note": 2000}  # characters


@dataclass(frozen=True)
class Wish:
    """What a batch asks for."""

    model: str = "auto"  # a shipped name, or the path of a .keras file
    scale: int = 2
    output_format: str | None = None  # one of FORMATS; None keeps each image's own
    tonight: bool = False  # remembered; there is no night run yet
    note: str = ""  # shown wherever the batch is


def read_wish(content: bytes | None, where: str, default: Wish | None = None) -> Wish:
    """Read a batch.toml; what it leaves open is as in `default`.

    `content` is None when there is no batch.toml; `where` names the file in messages. Raises WishError.
    """
    default = default or Wish()
    return default if content is None else check_wish(_parse(content, where), where, default)


def check_wish(table: Mapping[str, Any], where: str, default: Wish) -> Wish:
    """Return the wish in a table of keys and values; what it leaves open is as in `default`. Raises WishError."""
    wished = {key: _checked(key, value, where) for key, value in table.items()}
    return Wish(**{**asdict(default), **wished})


def write_wish(wish: Wish) -> bytes:
    """Return the batch.toml that asks for this."""
    lines = []
    for key, value in asdict(wish).items():
        # JSON's way to write text, numbers and truth is TOML's way too, for text without control characters.
        lines.append(f"{key} = {json.dumps(SAME if value is None else value, ensure_ascii=False)}")
    return ("\n".join(lines) + "\n").encode()


def _parse(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > _MAX_BYTES:
        raise WishError(f"{where} is {len(content):,} bytes long; a batch.toml needs a few lines.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise WishError(f"{where} is not UTF-8 text; save it again as UTF-8.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WishError(f'{where} is not valid TOML: {error}. A line looks like: model = "auto"') from None


def _checked(key: str, value: Any, where: str) -> Any:
    """Return the value as a Wish holds it."""
    check = _CHECKS.get(key)
    if check is None:
        raise WishError(
            f"{where} has a key {key!r} that does not exist{_did_you_mean(key, tuple(_CHECKS))}; "
            f"allowed are {', '.join(_CHECKS)}."
        )
    try:
        return check(value)
    except ValueError as error:
        raise WishError(f"{where}: {key} = {_shown(value)} {error}.") from None


def _text(longest: int, empty: bool) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError('is no text; write it in quotes, such as "auto"')
        if not (value.strip() or empty):
            raise ValueError("is empty; leave the line out to get the default")
        if len(value) > longest:
            raise ValueError(f"is too long; at most {longest} characters are allowed")
        if unprintable(value.replace("\n", "").replace("\t", "")):
            raise ValueError("holds control characters; leave them out")
        return value.strip()

    return check


def _scale(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in SCALES:
        raise ValueError(f"is not possible; allowed are the whole numbers {SCALES[0]} to {SCALES[-1]}")
    return value


def _output_format(value: Any) -> str | None:
    word = value.strip().lower().removeprefix(".") if isinstance(value, str) else ""
    word = _ALIASES.get(word, word)
    if word == SAME:
        return None
    if word not in FORMATS:
        hint = _did_you_mean(word, (*FORMATS, SAME))
        raise ValueError(f"is no format that can be written{hint}; allowed are {', '.join(FORMATS)} and same")
    return word


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false; write one of them, without quotes")
    return value


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word.lower(), known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _shown(value: Any) -> str:
    """Return the value as it stood in the file, cut short."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "model": _text(_MAX_TEXT["model"], empty=False),
    "scale": _scale,
    "output_format": _output_format,
    "tonight": _yes_or_no,
    "note": _text(_MAX_TEXT["note"], empty=True),
}
