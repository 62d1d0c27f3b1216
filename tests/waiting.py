"""Waiting for what other processes do, with a deadline and without blind sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE = 60.0


def eventually(what: str, holds: Callable[[], Found], within: float = PATIENCE) -> Found:
    """Look until `holds()` is true and return what it found; fail after `within` seconds."""
    until = time.monotonic() + within
    while not (found := holds()):
        assert time.monotonic() < until, f"not within {within:.0f} s: {what}"
        time.sleep(0.02)
    return found
