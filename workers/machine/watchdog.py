"""When a machine that nobody needs any more ends by itself: the last of the switches against a bill for nothing.

The members write what they see into small files, the supervisor reads them and asks the rule below. Times are those
of the computer's monotonic clock, which all its processes share: setting the clock harms nobody.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self


class End(IntEnum):
    """Why a machine ended: the exit code of `python -m workers.machine`, and of its members."""

    GONE = 0  # it was told to go or let go, or had no work for too long
    REFUSED = 3  # the registrar does not let it in, the log says why
    NO_SCHEDULER = 4  # scheduler or registrar could not be reached for too long
    BROKEN = 5  # its workers died too often
    NO_ASSIGNMENT = 6  # its metadata does not say what it is for


@dataclass(frozen=True)
class Sign:
    """When a member was last joined to its scheduler, and when it last had work (joining counts as work)."""

    joined: float
    worked: float

    def leave(self, path: Path) -> None:
        """Write it down, whole or not at all."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """What was written there last; None: nothing yet."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


def verdict(signs: Collection[Sign], began: float, limit: float, now: float) -> End | None:
    """Why the machine should end now; None: it should not. `began`: when it started, `limit` in seconds."""
    if now - max([began, *(sign.joined for sign in signs)]) > limit:
        return End.NO_SCHEDULER
    if signs and now - max(sign.worked for sign in signs) > limit:
        return End.GONE
    return None


MOST_DEATHS = 3
FORGIVEN_AFTER = 600.0
"""Seconds after which the death of a worker process does not count any more."""


def delay_after(deaths: Collection[float], now: float) -> float | None:
    """Seconds to wait before a worker process is started again, given when its forerunners died; None: give up."""
    lately = sum(now - death < FORGIVEN_AFTER for death in deaths)
    return None if lately > MOST_DEATHS else 2.0 ** (lately - 1)
