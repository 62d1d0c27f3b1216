"""How the report says numbers, states and reasons to people."""

from typing import Final

from infra.states import AttemptEnd, BatchState, ImageState

BATCH_STATES: Final[dict[str, str]] = {
    BatchState.ARRIVED: "Arrived",
    BatchState.REGISTERED: "Waiting",
    BatchState.RUNNING: "Running",
    BatchState.DONE: "Done",
    BatchState.DONE_WITH_REJECTS: "Done, some set aside",
    BatchState.FAILED: "Failed",
    BatchState.CANCELLING: "Being cancelled",
    BatchState.CANCELLED: "Cancelled",
}
IMAGE_STATES: Final[dict[str, str]] = {
    ImageState.WAITING: "waiting",
    ImageState.DONE: "done",
    ImageState.REJECTED: "set aside",
    ImageState.CANCELLED: "cancelled",
}
ATTEMPT_ENDS: Final[dict[str, str]] = {
    AttemptEnd.FINISHED: "finished",
    AttemptEnd.MACHINE_LOST: "machine lost",
    AttemptEnd.PREEMPTED: "machine taken back by the cloud",
    AttemptEnd.TIMED_OUT: "took too long",
    AttemptEnd.FAILED: "failed on the machine",
    AttemptEnd.SUPERSEDED: "taken over by a newer try",
    AttemptEnd.CANCELLED: "cancelled",
}
# By the names of `workers.rejects.RejectReason`, which this package does not import; a test holds them together.
REASONS: Final[dict[str, tuple[str, str]]] = {
    "MISSING": ("the file is gone", "Put it back into the batch, then retry."),
    "NO_PERMISSION": ("reading the file is forbidden", "Give everybody the right to read it, then retry."),
    "EMPTY": ("an empty file", "Copy the image again from where it came from."),
    "NOT_AN_IMAGE": ("not an image", "The name says image, the content does not. Export it again, or leave it out."),
    "UNSUPPORTED_FORMAT": ("a format that is not enhanced", "Save it as PNG, JPEG, WebP, TIFF, BMP or GIF."),
    "UNSUPPORTED_PIXELS": ("pixels that are not enhanced", "Save it with 8 or 16 bits per channel as RGB or grey."),
    "TRUNCATED": ("the file is cut short", "Download or copy it again; the end of the picture is missing."),
    "DAMAGED": ("the file is damaged", "Open it in an image editor; if that works, save it anew."),
    "ZERO_SIZE": ("a picture without pixels", "Export it again."),
    "TOO_LARGE": ("more pixels than are allowed", "Cut it into parts, or scale it down first."),
    "RESULT_TOO_LARGE": ("the result does not fit its format", "Wish another output format, such as tiff or png."),
    "UNSUPPORTED_OUTPUT": ("a name that no result can have", "Give it a usual suffix, such as .png."),
    "NO_PLACE": ("no place for the result", "Rename the image, or move away what lies in the place of its result."),
    "KILLS_MACHINES": ("machines die while working on it", "Save it anew in an image editor, or leave it out."),
    "UNEXPECTED": ("an unexpected fault", "Not your doing. Retry; if it stays, report it with the image."),
}
_OTHER_REASON: Final = ("set aside", "Open it in an image editor and save it anew.")


def reason_words(reason: str | None) -> str:
    """Say in a few words why an image was set aside."""
    return REASONS.get(reason or "", _OTHER_REASON)[0]


def advice(reason: str | None) -> str:
    """Say what a person can do about it."""
    return REASONS.get(reason or "", _OTHER_REASON)[1]


def count(number: int, one: str, many: str = "") -> str:
    """Return "1 image", "2,000 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """Return "0.42 s", "41 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def size(number: int | None) -> str:
    """Return a number of bytes as "812 B", "1.4 MB" (decimal units, as file managers do)."""
    if number is None:
        return "–"
    divisor, unit = _unit(number)
    return f"{_short(number / divisor)} {unit}"


def sizes(before: int, after: int) -> str:
    """Return two numbers of bytes in one unit: "1.4 → 4.3 MB"."""
    divisor, unit = _unit(max(before, after))
    return f"{_short(before / divisor)} → {_short(after / divisor)} {unit}"


def _unit(number: int) -> tuple[int, str]:
    for divisor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= 0.9995 * divisor:  # 999.6 kB would round to 1000 kB
            return divisor, unit
    return 1, "B"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 99.5 else f"{number:.1f}".removesuffix(".0")


def pixels(width: int | None, height: int | None) -> str:
    """Return "752×496"."""
    return f"{width}×{height}" if width and height else "–"


def figure(number: float | None) -> str:
    """Return a measured number with the digits that mean something: "0.042", "3.2", "128"."""
    if number is None:
        return "–"
    return f"{number:,.0f}" if number >= 99.5 else f"{number:.2g}" if number < 10 else f"{number:.1f}"
