"""What `spotlift` says without a stack, or with wrong settings: help that teaches, sentences, JSON for scripts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.story.pictures import draw

pytestmark = pytest.mark.slow
SPOTLIFT = Path(sys.executable).with_name("spotlift")
COMMANDS = (
    "enhance", "up", "down", "submit", "status", "machines", "fetch", "cancel", "retry", "doctor", "train"
)  # fmt: skip
Spotlift = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def spotlift(tmp_path: Path) -> Spotlift:
    """Call it with a command's arguments and settings; it runs in an empty folder."""

    def run(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTLIFT_", "PREFECT_"))}
        given = {f"SPOTLIFT_{name.upper()}": value for name, value in settings.items()}
        return subprocess.run(
            [str(SPOTLIFT), *map(str, arguments)],
            cwd=tmp_path,
            env={**own, "COLUMNS": "200", **given},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed for a user's mistake said; neither a traceback nor anything on stdout."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr


def test_help_names_every_command(spotlift: Spotlift):
    said = spotlift("--help").stdout
    assert all(f" {command} " in said for command in COMMANDS)
    assert "spotlift submit SRC --wait" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(spotlift: Spotlift, command: str):
    said = spotlift(command, "--help")
    assert said.returncode == 0
    assert len(said.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    "arguments", [("status",), ("machines",), ("fetch", "x", "y"), ("cancel", "x"), ("retry", "x")]
)
def test_without_a_stack_every_command_says_how_to_get_one(spotlift: Spotlift, arguments: tuple[str, ...]):
    assert "`spotlift up`" in sentence(spotlift(*arguments))


def test_down_without_a_stack_does_nothing(spotlift: Spotlift, tmp_path: Path):
    done = spotlift("down")
    assert done.returncode == 0
    assert "was not up" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_finds_nothing_wrong_in_an_empty_folder_and_writes_nothing(spotlift: Spotlift, tmp_path: Path):
    done = spotlift("doctor", port="4999")
    assert done.returncode == 0, done.stdout
    assert "Nothing is wrong" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_speaks_json(spotlift: Spotlift):
    told = json.loads(spotlift("doctor", "--json", port="4999").stdout)
    assert told["settings"]["port"] == 4999
    assert {finding["verdict"] for finding in told["findings"]} <= {"ok", "note"}


def test_the_doctor_says_what_is_wrong_and_what_to_do(spotlift: Spotlift, tmp_path: Path):
    (tmp_path / "a-file").write_text("")
    done = spotlift("doctor", model="imaginary", outbox=str(tmp_path / "a-file" / "outbox"))
    assert done.returncode == 1
    assert "'imaginary' does not exist: use fast, or a .keras file" in done.stdout
    assert "SPOTLIFT_OUTBOX" in done.stdout


@pytest.mark.parametrize("command", [("doctor",), ("up",), ("status",), ("submit", "x")])
def test_a_wrong_setting_is_named_with_where_it_comes_from(spotlift: Spotlift, command: tuple[str, ...]):
    said = sentence(spotlift(*command, port="many"))
    assert "'port' = 'many'" in said
    assert "SPOTLIFT_PORT" in said


def test_an_unknown_setting_in_the_file_is_named(spotlift: Spotlift, tmp_path: Path):
    (tmp_path / "spotlift.toml").write_text("machnies = 3\n")
    said = sentence(spotlift("doctor"))
    assert "machnies" in said
    assert "machines" in said
    (tmp_path / "spotlift.toml").write_text("machines = = 3\n")
    assert "spotlift.toml" in sentence(spotlift("doctor"))


def test_what_cannot_be_a_batch_is_refused_at_once(spotlift: Spotlift, tmp_path: Path):
    _new_ledger(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "wishes").mkdir()
    draw(tmp_path / "wishes" / "a.png", 8, 8, seed=1)
    (tmp_path / "wishes" / "batch.toml").write_text('modle = "fast"')
    assert "nowhere" in sentence(spotlift("submit", "nowhere"))
    assert "notes.txt" in sentence(spotlift("submit", "notes.txt"))
    assert "modle" in sentence(spotlift("submit", "wishes"))
    assert not list((tmp_path / ".spotlift" / "inbox").rglob("*.png"))


def test_a_batch_that_is_handed_in_without_a_stack_waits_and_says_so(spotlift: Spotlift, tmp_path: Path):
    _new_ledger(tmp_path)
    draw(tmp_path / "photos" / "a.png", 8, 8, seed=1)
    done = spotlift("submit", "photos")
    assert done.returncode == 0
    assert "`spotlift up`" in done.stdout
    assert (tmp_path / ".spotlift" / "inbox" / "photos" / "a.png").exists()
    waited = spotlift("submit", "photos", "--wait", "--name", "again")
    assert waited.returncode == 2
    assert "the stack is not up" in waited.stderr
    assert json.loads(spotlift("status", "--json").stdout) == []
    assert "nobody" in sentence(spotlift("status", "nobody"))


def _new_ledger(folder: Path) -> None:
    """As after an `up` and a `down`."""
    from infra.records import Ledger

    (folder / ".spotlift").mkdir()
    ledger = Ledger(f"sqlite:///{folder}/.spotlift/ledger.db")
    ledger.migrate()
    ledger.close()
