"""The tables of the ledger: what is remembered about batches, images, chunks, attempts, machines and lives.

Rows are changed by the verbs of `infra.records.Ledger` only. What a verb returns is detached from the
database: reading it costs nothing, changing it changes nothing.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Enum, Index, MetaData, UniqueConstraint, text
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from infra.states import (
    AttemptEnd,
    AttemptState,
    BatchEnd,
    BatchState,
    ChunkState,
    EventKind,
    ImageState,
    LifeEnd,
    LifeState,
    MachineEnd,
    MachineState,
    SourceKind,
)


class UTCDateTime(TypeDecorator[datetime]):
    """A moment in UTC: aware in, aware out. SQLite keeps no time zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive datetime: nobody could say later which hour was meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; give the ledger aware datetimes.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment as an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Row(SQLModel):
    """What all tables share: constraints with names, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _names(kind: type[StrEnum]) -> Enum:
    """A column that holds the name of an enum's value as text, so that a new value needs no migration."""
    return Enum(kind, native_enum=False, create_constraint=False, length=32)


def _key() -> Any:
    return Field(default=None, primary_key=True)


def _state(kind: type[StrEnum]) -> Any:
    return Field(sa_type=_names(kind))


def _end(kind: type[StrEnum]) -> Any:
    return Field(default=None, sa_type=_names(kind), nullable=True)


def _when() -> Any:
    return Field(default=None, sa_type=UTCDateTime, nullable=True)


def _json(kind: type[Any]) -> Any:
    return Field(default_factory=kind, sa_type=JSON)


class Batch(Row, table=True):
    """One folder or zip from the inbox, with its wish, its state and how it ended."""

    __tablename__ = "batch"

    id: int = _key()
    name: str = Field(unique=True)
    kind: SourceKind = _state(SourceKind)
    source: str  # key of the folder or zip in the inbox
    fingerprint: str  # of names, sizes and times, as `infra.arrivals` computes it
    model: str  # a shipped name or the path of a .keras file; `auto` becomes `auto-TIER` when it is registered
    model_checksum: str = ""  # sha256 of the file, or of the checksums of all files that may be used
    scale: int
    output_format: str | None = None  # None: like the input
    tonight: bool = False
    note: str = ""
    state: BatchState = _state(BatchState)
    reason: BatchEnd | None = _end(BatchEnd)
    message: str = ""  # what is wrong and what to do
    round: int = 1  # 1, then one more for each retry
    restarts: int = 0  # how often a dead flow run was replaced since the last image was settled
    flow_run_id: str | None = None
    arrived_at: datetime = Field(sa_type=UTCDateTime)  # in the first round
    registered_at: datetime | None = _when()
    started_at: datetime | None = _when()
    first_result_at: datetime | None = _when()
    finished_at: datetime | None = _when()


class Chunk(Row, table=True):
    """Images that travel to a machine together; `Image.chunk_id` says which."""

    __tablename__ = "chunk"
    __table_args__ = (UniqueConstraint("batch_id", "number"),)

    id: int = _key()
    batch_id: int = Field(foreign_key="batch.id")
    number: int  # 1, 2, … in the batch, over all rounds
    pixels: int = Field(sa_type=BigInteger)
    state: ChunkState = _state(ChunkState)


class Image(Row, table=True):
    """One image of a batch, and what became of it."""

    __tablename__ = "image"
    __table_args__ = (
        UniqueConstraint("batch_id", "name"),
        UniqueConstraint("batch_id", "output_name"),
        Index(None, "batch_id", "state"),
        Index(None, "model", "finished_at"),
    )

    id: int = _key()
    batch_id: int = Field(foreign_key="batch.id")
    chunk_id: int | None = Field(default=None, foreign_key="chunk.id", index=True)
    number: int  # its place in the batch: 1, 2, …
    name: str  # relative POSIX name in the inbox
    output_name: str  # relative POSIX name in the outbox
    bytes_in: int = Field(sa_type=BigInteger)
    width: int | None = None  # pixels, from the header, then as decoded
    height: int | None = None
    state: ImageState = _state(ImageState)
    reason: str | None = None  # why it was rejected, a name from `workers.rejects`
    message: str = ""
    out_width: int | None = None
    out_height: int | None = None
    bytes_out: int | None = Field(default=None, sa_type=BigInteger)
    sha256: str | None = None  # of the published file
    seconds: float | None = None
    model: str | None = None
    machine: str | None = Field(default=None, index=True)  # name
    attempt: int | None = None  # number of the attempt that settled it
    finished_at: datetime | None = _when()
    notes: list[str] = _json(list)


class Attempt(Row, table=True):
    """One try of a chunk on one machine."""

    __tablename__ = "attempt"
    __table_args__ = (
        UniqueConstraint("chunk_id", "number"),
        Index(
            "uq_attempt_open",
            "chunk_id",
            unique=True,
            sqlite_where=text("state = 'OPEN'"),
            postgresql_where=text("state = 'OPEN'"),
        ),
    )

    id: int = _key()
    batch_id: int = Field(foreign_key="batch.id", index=True)
    chunk_id: int = Field(foreign_key="chunk.id")
    number: int  # 1, 2, … for the chunk
    state: AttemptState = _state(AttemptState)
    end: AttemptEnd | None = _end(AttemptEnd)
    machine: str | None = Field(default=None, index=True)  # name, once known
    opened_at: datetime = Field(sa_type=UTCDateTime)
    ended_at: datetime | None = _when()
    images_done: int = 0  # images this attempt settled


class Life(Row, table=True):
    """One life of the pool: from the first rented machine to the last one given back."""

    __tablename__ = "life"

    id: int = _key()
    state: LifeState = _state(LifeState)
    end: LifeEnd | None = _end(LifeEnd)
    scheduler_address: str | None = None
    flow_run_id: str | None = None
    opened_at: datetime = Field(sa_type=UTCDateTime)
    closed_at: datetime | None = _when()
    details: dict[str, Any] = _json(dict)


class Machine(Row, table=True):
    """One rented machine; the row is written before the call that costs money."""

    __tablename__ = "machine"
    __table_args__ = (Index(None, "life_id", "state"), Index(None, "ended_at"))

    id: int = _key()
    life_id: int = Field(foreign_key="life.id")
    name: str = Field(unique=True)
    zone: str
    machine_type: str
    gpu: str | None = None  # `nvidia-l4`, …; None: it has none
    gpus: int = 0
    spot: bool
    price_per_hour: float | None = None  # US dollars, as rented; None: no price is known
    on_demand_per_hour: float | None = None  # what the same machine would have cost on demand
    state: MachineState = _state(MachineState)
    end: MachineEnd | None = _end(MachineEnd)
    reason: str = ""  # more about the end, in words
    request_id: str = ""  # asking the cloud twice with it makes one machine
    operation: str | None = None  # of its creation, once the cloud has accepted it
    requested_at: datetime = Field(sa_type=UTCDateTime)
    started_at: datetime | None = _when()  # first seen RUNNING
    checked_in_at: datetime | None = _when()  # its worker reached the scheduler
    stopping_at: datetime | None = _when()  # told to go, or seen on its way out
    ended_at: datetime | None = _when()
    details: dict[str, Any] = _json(dict)


class Lease(Row, table=True):
    """Who may do a thing that only one process may do at a time, and until when."""

    __tablename__ = "lease"

    name: str = Field(primary_key=True)
    holder: str
    until: datetime = Field(sa_type=UTCDateTime)


class Event(Row, table=True):
    """One line of the diary. Lines are added and never changed; ids follow the order of the story."""

    __tablename__ = "event"
    __table_args__ = (Index(None, "batch_id", "id"),)

    id: int = _key()
    at: datetime = Field(sa_type=UTCDateTime)
    kind: EventKind = _state(EventKind)
    batch_id: int | None = Field(default=None, foreign_key="batch.id")
    chunk_id: int | None = Field(default=None, foreign_key="chunk.id")
    attempt_id: int | None = Field(default=None, foreign_key="attempt.id")
    machine_id: int | None = Field(default=None, foreign_key="machine.id")
    life_id: int | None = Field(default=None, foreign_key="life.id")
    message: str
    details: dict[str, Any] = _json(dict)
