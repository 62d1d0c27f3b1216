"""Where one life of the local pool lies: light enough for commands that only want to look."""

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

from infra.processes import Processes
from infra.settings import Settings

if TYPE_CHECKING:  # the tables cost every command that imports them a second
    from infra.records.tables import Life


def lives_folder(settings: Settings) -> Path:
    """The folders of all lives. What lies here when none is open was left by somebody who was killed."""
    return settings.state / "lives"


def life_folder(settings: Settings, life: "Life") -> Path:
    """Certificates, process records and scratch of a life; nothing in it outlives the life.

    Its name tells when it was opened, because a new ledger counts from 1 again and must not meet old certificates.
    """
    return lives_folder(settings) / f"{life.id}-{life.opened_at.astimezone(UTC):%Y%m%d%H%M%S}"


def life_processes(settings: Settings, life: "Life") -> Processes:
    """The scheduler, the machines and the worker of a life; their logs outlive it."""
    return Processes(life_folder(settings, life) / "run", settings.logs / f"life-{life.id}", str(settings.state))
