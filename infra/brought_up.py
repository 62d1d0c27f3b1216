"""What a stack was brought up with, kept in its state folder until it was taken down.

Machines cost money wherever they were rented: whoever changes a setting between `up` and `down` must not lose sight
of them. Each life of the pool says in the ledger where it rents, too, because a ledger may outlive a state folder.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.settings import Settings

WHERE: Final = ("cloud", "project", "pool")
"""Settings that decide where the machines of a life of the pool are; its details in the ledger name them."""
DECISIVE: Final = (*WHERE, "ledger")
"""And who knows of them."""


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


def where(settings: Settings) -> Mapping[str, str]:
    """Where machines are rented with these settings: to be kept with each life of the pool."""
    return {name: str(getattr(settings, name)) for name in WHERE}


def elsewhere(life_id: int, details: Mapping[str, Any], here: Mapping[str, str]) -> str:
    """That the machines of a life are somewhere else, and what to do, in a sentence; empty when they are `here`."""
    differing = [f"{name} = {details[name]}" for name in WHERE if details.get(name, here[name]) != here[name]]
    if not differing:
        return ""
    return (
        f"life {life_id} of the pool was opened with {', '.join(differing)}, and its machines are there and cost "
        "money: `spotlift down`, then `spotlift up` and `spotlift down` with those settings give them back"
    )


def _decisive(settings: Settings) -> Mapping[str, str]:
    return {**where(settings), "ledger": settings.ledger_url}


def _note(settings: Settings) -> Path:
    return settings.state / "brought-up.json"
