"""What is remembered: the tables of the ledger and the verbs that change them.

Use `Ledger` and the plain values here; nobody else writes SQL.
"""

from infra.records.errors import (
    BatchStopped,
    Fenced,
    IllegalMove,
    LedgerError,
    LedgerTooNew,
    LedgerUnreachable,
    Refused,
    Unknown,
)
from infra.records.ledger import Ledger
from infra.records.tables import Attempt, Batch, Chunk, Event, Image, Life, Machine
from infra.records.values import ImageOutcome, NewChunk, NewImage, Progress, WaitingWork

__all__ = [
    "Attempt",
    "Batch",
    "BatchStopped",
    "Chunk",
    "Event",
    "Fenced",
    "IllegalMove",
    "Image",
    "ImageOutcome",
    "Ledger",
    "LedgerError",
    "LedgerTooNew",
    "LedgerUnreachable",
    "Life",
    "Machine",
    "NewChunk",
    "NewImage",
    "Progress",
    "Refused",
    "Unknown",
    "WaitingWork",
]
