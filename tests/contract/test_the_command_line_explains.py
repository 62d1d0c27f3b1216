"""What `spotlift` says without a stack, or with wrong settings: help that teaches, sentences, JSON for scripts."""

import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.brought_up import remember
from infra.records import Ledger, NewImage
from infra.settings import Settings
from infra.stack import EMULATOR, stack_processes
from infra.states import LifeEnd, LifeState, SourceKind
from tests.contract.shell import Shell, sentence
from tests.story.pictures import draw

pytestmark = pytest.mark.slow
COMMANDS = (
    "enhance", "up", "down", "submit", "status", "machines", "fetch", "cancel", "retry", "doctor", "train"
)  # fmt: skip


@pytest.fixture
def spotlift(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_help_names_every_command(spotlift: Shell):
    said = spotlift("--help").stdout
    assert all(f" {command} " in said for command in COMMANDS)
    assert "spotlift submit SRC --wait" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(spotlift: Shell, command: str):
    said = spotlift(command, "--help")
    assert said.returncode == 0
    assert len(said.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    "arguments", [("status",), ("machines",), ("fetch", "x", "y"), ("cancel", "x"), ("retry", "x")]
)
def test_without_a_stack_every_command_says_how_to_get_one(spotlift: Shell, arguments: tuple[str, ...]):
    assert "`spotlift up`" in sentence(spotlift(*arguments))


def test_down_without_a_stack_does_nothing(spotlift: Shell, tmp_path: Path):
    done = spotlift("down")
    assert done.returncode == 0
    assert "was not up" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_finds_nothing_wrong_in_an_empty_folder_and_writes_nothing(spotlift: Shell, tmp_path: Path):
    done = spotlift("doctor", port="4999")
    assert done.returncode == 0, done.stdout
    assert "Nothing is wrong" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_speaks_json(spotlift: Shell):
    told = json.loads(spotlift("doctor", "--json", port="4999").stdout)
    assert told["settings"]["port"] == 4999
    assert {finding["verdict"] for finding in told["findings"]} <= {"ok", "note"}


def test_the_doctor_says_what_is_wrong_and_what_to_do(spotlift: Shell, tmp_path: Path):
    (tmp_path / "a-file").write_text("")
    done = spotlift("doctor", model="imaginary", outbox=str(tmp_path / "a-file" / "outbox"))
    assert done.returncode == 1
    assert "There is no model 'imaginary'. Shipped models: auto, " in done.stdout
    assert "SPOTLIFT_OUTBOX" in done.stdout


def test_the_doctor_says_which_files_a_model_is(spotlift: Shell):
    [finding] = [
        each for each in json.loads(spotlift("doctor", "--json").stdout)["findings"] if each["what"] == "model"
    ]
    assert finding["message"].startswith("auto-fast: fast-x2.keras")


def test_the_doctor_hides_the_password_of_the_ledger(spotlift: Shell):
    ledger = "postgresql+psycopg://anna:sesame@127.0.0.1:9/spotlift"
    for form in ((), ("--json",)):
        said = spotlift("doctor", *form, port="4999", ledger=ledger).stdout
        assert "anna:***@127.0.0.1:9/spotlift" in said
        assert "sesame" not in said


def test_the_doctor_says_that_nobody_keeps_an_open_pool(spotlift: Shell):
    assert "nobody keeps it" not in spotlift("doctor", port="4999").stdout
    spotlift.new_ledger().open_life(datetime.now(UTC))
    done = spotlift("doctor", port="4999")
    assert done.returncode == 0
    assert "life 1 is open, but nobody keeps it: `spotlift down`" in done.stdout


@pytest.mark.parametrize("command", ["up", "doctor", "down", "status"])
def test_a_state_folder_that_is_a_file_is_a_mistake_of_the_user(spotlift: Shell, tmp_path: Path, command: str):
    (tmp_path / "notes.txt").write_text("")
    assert "notes.txt is a file, not a folder" in sentence(spotlift(command, "--state", "notes.txt"))


def test_a_folder_that_cannot_be_made_is_named(spotlift: Shell, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("")
    said = sentence(spotlift("up", inbox=str(tmp_path / "notes.txt" / "inbox")))
    assert "notes.txt/inbox cannot be made" in said
    assert "SPOTLIFT_INBOX" in said


def test_an_address_of_another_computer_is_told_from_a_port_in_use(spotlift: Shell):
    said = sentence(spotlift("up", host="300.1.1.1"))
    assert "cannot listen on '300.1.1.1'" in said
    assert "SPOTLIFT_HOST" in said
    assert "SPOTLIFT_HOST" in spotlift("doctor", host="300.1.1.1").stdout
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"port {port} is in use by another program" in sentence(spotlift("up", port=port))
        assert f"port {port} is in use by another program" in spotlift("doctor", port=port).stdout


def test_up_with_other_settings_is_refused_while_a_pool_of_the_old_ones_is_open(spotlift: Shell):
    ledger, now = spotlift.new_ledger(), datetime.now(UTC)
    remember(Settings(state=spotlift.state, pool="mine"))
    life = ledger.open_life(now, details={"cloud": "emulator", "project": "spotlift-local", "pool": "mine"})
    assert life is not None
    said = sentence(spotlift("up", pool="another"))
    assert "was brought up with pool = mine (now another)" in said
    assert "`spotlift down` gives them back" in said
    assert "settings: this stack was brought up with pool = mine" in spotlift("doctor", pool="another").stdout


def test_up_leaves_a_pool_alone_that_the_ledger_knows_from_elsewhere(spotlift: Shell):
    ledger = spotlift.new_ledger()
    assert ledger.open_life(datetime.now(UTC), details={"cloud": "google", "project": "theirs", "pool": "mine"})
    assert "life 1 of the pool was opened with cloud = google, project = theirs" in sentence(spotlift("up"))
    assert not (spotlift.state / "brought-up.json").exists()


def test_down_goes_by_the_settings_that_the_stack_was_brought_up_with(spotlift: Shell):
    ledger, port = spotlift.new_ledger(), str(free_port())
    elsewhere = Ledger(f"sqlite:///{spotlift.folder}/other.db")
    elsewhere.migrate()
    remember(Settings(state=spotlift.state, pool="mine", ledger=f"sqlite:///{spotlift.folder}/other.db"))
    life, stranger = elsewhere.open_life(datetime.now(UTC)), ledger.open_life(datetime.now(UTC))
    assert life is not None
    assert stranger is not None
    machine = {"name": "mine-1", "zone": "us-central1-a", "machine_type": "g2-standard-4", "spot": True}
    assert elsewhere.rent(life.id, 1, **machine, now=datetime.now(UTC))
    assert "mine-1" in spotlift("machines", pool="another").stdout
    done = spotlift("down", pool="another", emulator_port=port)
    assert done.returncode == 0, done.stderr
    assert "brought up with pool = mine (now another), ledger = sqlite:///" in done.stderr
    assert (elsewhere.life(life.id).state, elsewhere.life(life.id).end) == (LifeState.CLOSED, LifeEnd.ASKED)
    assert ledger.life(stranger.id).state is LifeState.OPENING
    assert "settings" not in {f["what"] for f in json.loads(spotlift("doctor", "--json").stdout)["findings"]}


def test_prices_that_cannot_be_read_are_told_before_anything_starts(spotlift: Shell, tmp_path: Path):
    (tmp_path / "prices.toml").write_text("these are none")
    assert "prices.toml" in sentence(spotlift("up", prices="prices.toml"))
    assert not spotlift.state.exists()
    assert "✗ prices:" in spotlift("doctor", prices="prices.toml").stdout


def test_credentials_that_are_missing_are_told_before_anything_starts(
    spotlift: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    google = {"cloud": "google", "project": "theirs", "controller": "10.0.0.2", "pool": "mine", "port": "4999"}
    assert "`gcloud auth application-default login`" in sentence(spotlift("up", **google))
    assert not spotlift.state.exists()
    assert "`gcloud auth application-default login`" in spotlift("doctor", **google).stdout


def test_an_emulator_that_does_not_answer_is_told_soon_and_in_words(spotlift: Shell):
    spotlift.new_ledger()
    processes = stack_processes(Settings(state=spotlift.state))
    mute = [sys.executable, "-c", "import time; time.sleep(600)"]
    processes.start(EMULATOR, mute, os.environ, {"port": str(free_port())})
    try:
        began = time.monotonic()
        done = spotlift("machines")
        assert time.monotonic() - began < 15
        assert "does not answer at http://127.0.0.1:" in done.stdout
        assert "`spotlift down`, `spotlift up` mend it" in done.stdout
        assert "HTTP" not in done.stdout
    finally:
        processes.stop([EMULATOR])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_names_are_printed_as_they_are(spotlift: Shell):
    ledger, now = spotlift.new_ledger(), datetime.now(UTC)
    source = {"kind": SourceKind.FOLDER, "source": "x", "fingerprint": "1", "model": "fast", "scale": 2}
    batch = ledger.take("holiday", **source, note="[/red] :cat:", now=now)
    assert batch is not None
    name = "a[/b] :cat: [red].png"
    rejected = NewImage(name, name, bytes_in=9, reason="DAMAGED", message="It [/ends] too early.")
    ledger.register(batch.id, [rejected], [], now)
    said = spotlift("status", "holiday")
    assert said.returncode == 0, said.stderr
    assert f"{name} DAMAGED: It [/ends] too early." in said.stdout
    assert "[/red] :cat:" in said.stdout


@pytest.mark.parametrize("command", [("doctor",), ("up",), ("status",), ("submit", "x")])
def test_a_wrong_setting_is_named_with_where_it_comes_from(spotlift: Shell, command: tuple[str, ...]):
    said = sentence(spotlift(*command, port="many"))
    assert "'port' = 'many'" in said
    assert "SPOTLIFT_PORT" in said


def test_an_unknown_setting_in_the_file_is_named(spotlift: Shell, tmp_path: Path):
    (tmp_path / "spotlift.toml").write_text("machnies = 3\n")
    said = sentence(spotlift("doctor"))
    assert "machnies" in said
    assert "machines" in said
    (tmp_path / "spotlift.toml").write_text("machines = = 3\n")
    assert "spotlift.toml" in sentence(spotlift("doctor"))


def test_what_cannot_be_a_batch_is_refused_at_once(spotlift: Shell, tmp_path: Path):
    spotlift.new_ledger()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "wishes").mkdir()
    draw(tmp_path / "wishes" / "a.png", 8, 8, seed=1)
    (tmp_path / "wishes" / "batch.toml").write_text('modle = "fast"')
    assert "nowhere" in sentence(spotlift("submit", "nowhere"))
    assert "notes.txt" in sentence(spotlift("submit", "notes.txt"))
    assert "modle" in sentence(spotlift("submit", "wishes"))
    assert not list((tmp_path / ".spotlift" / "inbox").rglob("*.png"))


def test_a_batch_that_is_handed_in_without_a_stack_waits_and_says_so(spotlift: Shell, tmp_path: Path):
    spotlift.new_ledger()
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
