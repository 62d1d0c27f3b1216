"""Brings a database to the tables that this version of the program knows, with Alembic."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData

from infra.records.database import Database
from infra.records.errors import LedgerTooNew
from infra.records.tables import Row

MIGRATIONS: Final = Path(__file__).parent / "migrations"
TABLES: Final[MetaData] = Row.metadata
VERSION_TABLE: Final = "ledger_version"


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file and without a word about logging."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def migrate(database: Database) -> None:
    """Bring the database to the newest schema; many processes may do so at once, one of them does it.

    Raises `LedgerTooNew` when a later version of the program wrote it, and `LedgerUnreachable`.
    """
    script = ScriptDirectory.from_config(configuration())
    head = script.get_current_head()
    with database.reading() as session:
        if _revision(session.connection()) == head:
            return
    with database.changing() as connection:
        found = _revision(connection)
        if found == head:  # somebody else was quicker
            return
        if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
            raise LedgerTooNew(
                f"The ledger {database.name} was written by a later version (schema {found}; "
                f"this one knows up to {head}). Update the program, or use another ledger."
            )
        command.upgrade(configuration(connection), "head")


def differences(connection: Connection) -> list[object]:
    """What a migration would still have to change so that the database equals the tables in the code."""
    return list(compare_metadata(_context(connection), TABLES))


def _revision(connection: Connection) -> str | None:
    return _context(connection).get_current_revision()


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
