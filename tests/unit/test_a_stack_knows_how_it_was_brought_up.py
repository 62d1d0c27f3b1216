"""What decides where machines are stays as it was between `up` and `down`."""

import stat
from pathlib import Path
from typing import Any

import pytest

from infra.brought_up import as_brought_up, changed, forget, remember
from infra.settings import Settings


@pytest.fixture
def with_(tmp_path: Path) -> Any:
    return lambda **changes: Settings(state=tmp_path, **changes)


def test_what_was_not_brought_up_is_as_the_settings_say(with_: Any):
    assert as_brought_up(with_(pool="mine")) == with_(pool="mine")
    assert changed(with_(pool="mine")) == ""


def test_other_settings_do_not_lead_away_from_the_machines(with_: Any):
    then = with_(cloud="google", project="first", controller="10.0.0.2", pool="mine", ledger="sqlite:////a/ledger.db")
    remember(then)
    now = with_(machines=7)
    again = as_brought_up(now)
    assert (again.cloud, again.project, again.pool, again.ledger_url, again.machines) == (
        "google", "first", "mine", "sqlite:////a/ledger.db", 7
    )  # fmt: skip
    assert changed(then) == ""
    assert "project = first (now spotlift-local)" in changed(now)

    forget(now)
    assert changed(now) == ""


def test_the_password_of_the_ledger_is_kept_from_other_eyes(with_: Any, tmp_path: Path):
    remember(with_(ledger="postgresql+psycopg://me:secret@db/spotlift"))
    [note] = tmp_path.glob("brought-up.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert "secret" not in changed(with_())
    assert "ledger = postgresql+psycopg://me:***@db/spotlift (now the one in the state folder)" in changed(with_())


def test_a_note_that_is_damaged_counts_as_none(with_: Any, tmp_path: Path):
    (tmp_path / "brought-up.json").write_text('{"cloud": "moon"')
    assert changed(with_()) == ""
