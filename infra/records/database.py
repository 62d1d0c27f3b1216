"""Opens the ledger's database, so that the verbs need not know whether it is SQLite or Postgres.

On both, writers take turns: a transaction that writes begins by taking the one write lock (SQLite: BEGIN
IMMEDIATE; Postgres: an advisory lock), so what it reads stays true until it commits, there are no deadlocks,
and the ids of the diary follow the order in which the story happened. Readers wait for nobody.
`docs/decisions/0003-one-writer-at-a-time.md` has the reasons and the measurements.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from infra.records.errors import LedgerUnreachable

WAIT_SECONDS: Final = 30  # for the write lock; a transaction takes milliseconds
_WRITES: Final = "spotlift_writes"
_LOCK: Final = 0x5B07_11F7  # any number that nobody else uses in this database
_UNDEFINED_TABLE: Final = "42P01"  # SQLSTATE, Postgres manual, appendix A
_NOT_OURS: Final = {_UNDEFINED_TABLE, "42501"}  # and "insufficient privilege"


class Database:
    """One SQLite file or Postgres database. May be shared by threads, not by forked processes."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.engine = _engine(self.url)
        self._reader = self.engine
        if self.engine.dialect.name == "postgresql":
            # All queries of one verb see the same moment, as they do in SQLite.
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writer = self.engine.execution_options(**{_WRITES: True})

    @property
    def name(self) -> str:
        """The address for people: without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the ledger and changes nothing."""
        with self._explained(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that writes alone; it commits at the end of the block, or undoes all on an exception."""
        with self._explained(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            session.connection()  # take the lock now, also when the first query comes later
            yield session

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """A connection that changes the schema, alone, in one transaction."""
        with self._explained():
            if self.engine.dialect.name == "sqlite":
                with self.engine.connect() as connection:
                    # Stays on in the file, and lets readers read while somebody writes.
                    connection.connection.cursor().execute("PRAGMA journal_mode = WAL")
            with self._writer.begin() as connection:
                yield connection

    def close(self) -> None:
        """Close the idle connections. The next verb opens new ones."""
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what a driver says about a database it cannot use into a sentence."""
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise LedgerUnreachable(self._explain(error)) from error
        except DatabaseError as error:
            damaged = type(error) is DatabaseError  # SQLite: not a database, or a broken one
            if damaged or getattr(error.orig, "sqlstate", None) in _NOT_OURS:
                raise LedgerUnreachable(self._explain(error)) from error
            raise  # a fault in our own SQL

    def _explain(self, error: DBAPIError) -> str:
        said = str(error.orig).strip().splitlines()[0]
        if "no such table" in said or getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE:
            return f"The ledger {self.name} has no tables of ours yet ({said}). Run `spotlift up` once."
        if "locked" in said or "lock timeout" in said:
            return f"The ledger {self.name} is busy: somebody has been writing for {WAIT_SECONDS} s ({said})."
        return f"The ledger {self.name} cannot be used: {said}. See that it exists and is ours to write."


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise LedgerUnreachable(
            f"{url!r} is no database address. Use sqlite:////path/to/ledger.db or postgresql+psycopg://…"
        ) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise LedgerUnreachable(f"The ledger lives in SQLite or Postgres, not in {parsed.drivername!r}.")
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in {None, "", ":memory:"}:
            raise LedgerUnreachable("The ledger must outlive its process: give SQLite a file.")
        if not Path(str(parsed.database)).parent.is_dir():
            raise LedgerUnreachable(f"The folder of the ledger {parsed.database} does not exist.")
    return parsed


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": WAIT_SECONDS})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        # A process that was frozen in a transaction must not stop all the others for ever.
        waits = f"-c lock_timeout={WAIT_SECONDS}s -c idle_in_transaction_session_timeout={2 * WAIT_SECONDS}s"
        engine = create_engine(url, connect_args={"options": waits, "connect_timeout": 10}, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_postgres)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; `_begin_sqlite` does
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
