"""Writes the diary and finds rows: the few things that every verb of the ledger does."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import insert
from sqlalchemy.orm import Session

from infra.records.database import Database
from infra.records.errors import Unknown
from infra.records.tables import Attempt, Batch, Chunk, Event, Life, Machine, Row
from infra.states import EventKind

SomeRow = TypeVar("SomeRow", bound=Row)
Subject = Batch | Chunk | Attempt | Machine | Life


class Verbs:
    """What the verbs of the ledger stand on: a database, and nothing else."""

    def __init__(self, database: Database) -> None:
        self._database = database


def note(session: Session, now: datetime, kind: EventKind, message: str, *about: Subject, **details: Any) -> None:
    """Add a line to the diary, in the same transaction as what it tells of."""
    session.execute(insert(Event), [line(now, kind, message, *about, **details)])


def line(now: datetime, kind: EventKind, message: str, *about: Subject, **details: Any) -> dict[str, Any]:
    """A line of the diary as plain values, for writing many at once."""
    keys: dict[str, Any] = dict.fromkeys(("batch_id", "chunk_id", "attempt_id", "machine_id", "life_id"))
    for row in about:
        if isinstance(row, Chunk | Attempt):
            keys["batch_id"] = row.batch_id
        if isinstance(row, Attempt):
            keys["chunk_id"] = row.chunk_id
        if isinstance(row, Machine):
            keys["life_id"] = row.life_id
        keys[f"{type(row).__name__.lower()}_id"] = row.id
    return {"at": now, "kind": kind, "message": message, "details": details, **keys}


def get(session: Session, table: type[SomeRow], key: int) -> SomeRow:
    """The row of that number; `Unknown` when there is none."""
    row = session.get(table, key)
    if row is None:
        raise Unknown(table.__name__.lower(), key)
    return row


def counted(count: int, noun: str) -> str:
    """A count for a sentence: `1 image`, `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(names: Sequence[str], most: int = 3) -> str:
    """A few names for a sentence: `a.png, b.png and 7 more`."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
