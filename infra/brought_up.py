"""What a stack was brought up with, kept in its state folder until it was taken down.

Machines cost money wherever they were rented: whoever changes a setting between `up` and `down` must not lose sight
of them.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.settings import Settings

DECISIVE: Final = ("cloud", "project", "pool", "ledger")
"""Settings that decide where machines are and who knows of them."""


def remember(settings: Settings) -> None:
    """Note down, for its owner only, what the stack is brought up with, before anything can be rented."""
    note = _note(settings)
    draft = note.with_name(f".{note.name}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(_decisive(settings), file)
    draft.replace(note)


def forget(settings: Settings) -> None:
    """The stack is down, and nothing of it is left anywhere."""
    _note(settings).unlink(missing_ok=True)


def as_brought_up(settings: Settings) -> Settings:
    """These settings, with what decides where machines are as it was when the stack was brought up."""
    try:
        noted = json.loads(_note(settings).read_text(encoding="utf-8"))
        known = {name: str(noted[name]) for name in DECISIVE}
    except (OSError, ValueError, KeyError, TypeError):
        return settings  # it is down, or was brought up by an earlier version
    return settings.model_copy(update=known)


def changed(settings: Settings) -> str:
    """Which of these settings the stack was not brought up with, in words; empty when all are as they were."""
    before = as_brought_up(settings)
    then, now = before.shown(), settings.shown()
    differing = (name for name, value in _decisive(before).items() if value != _decisive(settings)[name])
    return ", ".join(f"{name} = {then[name]} (now {now[name] or 'the one in the state folder'})" for name in differing)


def _decisive(settings: Settings) -> Mapping[str, Any]:
    return {**{name: getattr(settings, name) for name in DECISIVE}, "ledger": settings.ledger_url}


def _note(settings: Settings) -> Path:
    return settings.state / "brought-up.json"
