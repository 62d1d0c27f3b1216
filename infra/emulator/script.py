"""A script of trouble: a TOML file with a list of orders, each with the moment when it is given.

[[fault]]
at = 20                    # seconds after the emulator's start
fault = "stockout"
zone = "us-central1-a"

[[fault]]
after_inserts = 3          # … or after the third request for a machine, and `at` seconds later
at = 5
fault = "preempt"
all = true
notice = 30
"""

import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infra.emulator.faults import KNOWN, UnknownFault
from infra.emulator.world import World

log = logging.getLogger("spotlift.emulator")


class ScriptError(Exception):
    """The script cannot be followed; a sentence."""


@dataclass(frozen=True)
class Entry:
    """One order and its moment."""

    order: dict[str, Any]
    at: float = 0.0
    after_inserts: int | None = None


def read(path: Path) -> list[Entry]:
    """Raises ScriptError."""
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ScriptError(f"{path} cannot be read: {error}") from error
    entries = given.get("fault")
    if set(given) != {"fault"} or not isinstance(entries, list):
        raise ScriptError(f"{path}: a script is a list of [[fault]]")
    return [_entry(path, number, dict(it)) for number, it in enumerate(entries, 1)]


def _entry(path: Path, number: int, given: dict[str, Any]) -> Entry:
    at, after = given.pop("at", 0.0), given.pop("after_inserts", None)
    if given.get("fault") not in KNOWN:
        raise ScriptError(f"{path}: entry {number} has no fault that is known; known are {', '.join(KNOWN)}")
    if given.pop("no_notice", False):  # TOML has no null
        given["notice"] = None
    return Entry(given, float(at), None if after is None else int(after))


def follow(world: World, entries: Sequence[Entry], start: float) -> None:
    """Plan all of it."""
    for entry in entries:
        if entry.after_inserts is None:
            world.at(start + entry.at, partial(_give, world, entry))
        else:
            world.after_inserts(entry.after_inserts, partial(_give_later, world, entry))


def _give_later(world: World, entry: Entry) -> None:
    world.at(world.now + entry.at, partial(_give, world, entry))


def _give(world: World, entry: Entry) -> None:
    try:
        world.order(entry.order, world.now)
    except UnknownFault as error:
        log.warning("the script's order %s cannot be carried out: %s", entry.order, error)
