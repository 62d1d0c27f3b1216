"""Removes what killed processes left: half a hand-in in the inbox, half an unpacked zip in the work folder.

A watcher calls these once per shift, like the store's own sweep. What is younger than `older_than` may still be
written and stays.
"""

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.storage.store import RESERVED
from infra.storage.trouble import in_words

INCOMING = f"{RESERVED}incoming-"
UNPACKING = f"{RESERVED}unpacking-"
_A_DAY = timedelta(days=1)


def sweep(inbox: Path, now: datetime, older_than: timedelta = _A_DAY) -> int:
    """Remove what a `hand_in` left in the inbox that was killed on the way; return how many."""
    return _sweep(inbox.glob(f"{INCOMING}*"), now, older_than)


def sweep_unpacking(work: Path, now: datetime, older_than: timedelta = _A_DAY) -> int:
    """Remove what an `unpack` left in the work folder, or in a folder directly in it; return how many."""
    return sum(_sweep(work.glob(f"{place}{UNPACKING}*"), now, older_than) for place in ("", "*/"))


def _sweep(leftovers: Iterable[Path], now: datetime, older_than: timedelta) -> int:
    swept = 0
    for leftover in leftovers:
        with in_words(f"sweeping {leftover}"):
            try:
                changed = datetime.fromtimestamp(leftover.lstat().st_ctime, UTC)
                if changed < now - older_than:
                    shutil.rmtree(leftover)
                    swept += 1
            except FileNotFoundError:
                continue  # its owner is alive and has finished, or another watcher was quicker
    return swept
