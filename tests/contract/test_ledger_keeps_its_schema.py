"""A ledger on disk has the tables that the code believes it has, and says so when it has not."""

import logging
import signal
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.records import Ledger, LedgerTooNew, LedgerUnreachable
from infra.records.database import Database
from infra.records.schema import TABLES, VERSION_TABLE, differences, migrate


def test_the_migrations_lead_to_the_tables_in_the_code(database_url: str) -> None:
    database = Database(database_url)
    with database.reading() as session:
        assert len(differences(session.connection())) > len(TABLES.tables)  # all of them, and indexes
    migrate(database)
    with database.reading() as session:
        assert differences(session.connection()) == []
    migrate(database)  # once more is harmless
    database.close()


def test_a_ledger_of_a_later_version_is_left_alone(ledger: Ledger, database_url: str) -> None:
    database = Database(database_url)
    with database.changing() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(LedgerTooNew, match=r"schema 9999; this one knows up to \d+\)\. Update the program"):
        ledger.migrate()
    database.close()


def test_migrating_leaves_the_logs_of_the_program_alone(database_url: str) -> None:
    theirs = logging.getLogger("somebody.else")
    before = (logging.root.level, list(logging.root.handlers))
    ledger = Ledger(database_url)
    ledger.migrate()
    ledger.close()
    assert (logging.root.level, list(logging.root.handlers)) == before
    assert not theirs.disabled


def test_a_ledger_without_tables_says_what_to_do(database_url: str) -> None:
    with pytest.raises(LedgerUnreachable, match=r"has no tables of ours yet.*Run `spotlift up` once\."):
        Ledger(database_url).batches()


def test_a_damaged_file_is_named(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"This is no database, but it is long enough to look like one." * 50)
    with pytest.raises(LedgerUnreachable, match=r"ledger\.db cannot be used: file is not a database"):
        Ledger(sqlite_url).migrate()


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("ledger.db", "is no database address"),
        ("sqlite://", "give SQLite a file"),
        ("sqlite:////no/such/folder/ledger.db", "folder of the ledger .* does not exist"),
        ("mysql://somewhere/ledger", "not in 'mysql'"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(LedgerUnreachable, match=complaint):
        Ledger(url)


def test_a_server_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    away = Ledger(f"postgresql://anna:secret@/ledger?host={tmp_path}")
    with pytest.raises(LedgerUnreachable, match="cannot be used") as refusal:
        away.batches()
    assert "secret" not in str(refusal.value)
    assert "anna" in str(refusal.value)


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_half_done(
    ledger: Ledger, database_url: str, noon: datetime
) -> None:
    script = f"""
        from datetime import UTC, datetime
        from infra.records.database import Database
        from infra.records.tables import Lease
        import time
        with Database({database_url!r}).writing() as session:
            session.add(Lease(name="watch", holder="the dead", until=datetime.max.replace(tzinfo=UTC)))
            session.flush()
            print("writing", flush=True)
            time.sleep(60)
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert ledger.hold("watch", "the living", 10, noon)
    assert ledger.events() == []
