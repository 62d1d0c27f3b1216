"""Alembic runs this file to write or apply a migration; `infra.records.schema` hands over the connection."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlmodel import AutoString

from infra.records.schema import TABLES, VERSION_TABLE
from infra.records.tables import UTCDateTime


def plain(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Write plain types into a migration, so that it stays true when our own types change."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, sa.Enum):
        return f"sa.String({item.length})"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES,
    version_table=VERSION_TABLE,
    render_item=plain,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
