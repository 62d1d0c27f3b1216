"""Settings come from arguments, the environment and a file, in this order; what is wrong is named."""

from datetime import timedelta
from pathlib import Path

import pytest

from infra.pool.plan import PoolPlan
from infra.settings import PREFIX, Settings, SettingsError, read_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without a settings file, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    return tmp_path


def test_without_any_source_everything_lies_below_the_state_folder(empty_folder: Path):
    settings = read_settings()
    assert settings.state == empty_folder / ".spotlift"
    assert settings.inbox_folder == settings.state / "inbox"
    assert settings.outbox_folder == settings.state / "outbox"
    assert settings.ledger_url == f"sqlite:///{settings.state}/ledger.db"


def test_an_argument_beats_the_environment_and_that_beats_the_file(empty_folder: Path, monkeypatch: pytest.MonkeyPatch):
    (empty_folder / "spotlift.toml").write_text("machines = 3\nport = 1003\nquiet = 3.0")
    monkeypatch.setenv("SPOTLIFT_MACHINES", "4")
    monkeypatch.setenv("SPOTLIFT_PORT", "1004")
    settings = read_settings(port=1005)
    assert (settings.quiet, settings.machines, settings.port) == (3.0, 4, 1005)


def test_an_argument_that_is_none_does_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPOTLIFT_PORT", "1004")
    assert read_settings(port=None).port == 1004


def test_a_child_reads_exactly_what_its_parent_read(empty_folder: Path, monkeypatch: pytest.MonkeyPatch):
    (empty_folder / "spotlift.toml").write_text('machines = 3\ninbox = "~/inbox"\nledger = "sqlite:///l.db"')
    parent = read_settings(idle_window=7.5)
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    elsewhere = empty_folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert read_settings() == parent


def test_a_relative_state_folder_means_the_same_for_every_process(empty_folder: Path):
    assert read_settings(state="here").state == empty_folder / "here"


@pytest.mark.parametrize(
    ("name", "value"), [("machines", "0"), ("machines", "many"), ("port", "70000"), ("idle_window", "-1")]
)
def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(SettingsError) as error:
        read_settings()
    assert f"environment variable {PREFIX}{name.upper()}" in str(error.value)
    assert value in str(error.value)


def test_two_ways_to_write_a_folder_are_one_folder(empty_folder: Path):
    (empty_folder / "link").symlink_to(empty_folder / "b")
    for written in ("a/../b", str(empty_folder / "b"), "link"):
        settings = read_settings(state=written, inbox=f"{written}/in", outbox=f"{written}/out")
        assert settings == read_settings(state="b", inbox="b/in", outbox="b/out")


def test_a_database_file_means_the_same_for_every_process(empty_folder: Path):
    assert read_settings(ledger="sqlite:///a/l.db").ledger_url == f"sqlite:///{empty_folder}/a/l.db"
    for whole in ("sqlite:////var/l.db", "postgresql+psycopg://anna@db/x"):
        assert read_settings(ledger=whole).ledger_url == whole


def test_the_file_of_a_model_means_the_same_for_every_process(empty_folder: Path):
    (empty_folder / "fast").mkdir()
    assert read_settings(model="fast").model == "fast"
    assert read_settings(model="models/own.keras").model == str(empty_folder / "models" / "own.keras")


def test_gpus_are_rented_from_google_only_and_told_by_what_is_rented():
    google = {"cloud": "google", "project": "ours", "controller": "10.0.0.1", "pool": "ours"}
    assert not read_settings().rents_gpus
    assert not read_settings(gpu="nvidia-l4").rents_gpus
    for machine_type in ("g2-standard-4", "a2-highgpu-1g", "a3-megagpu-8g", "g4-standard-48"):
        assert read_settings(**google, machine_type=machine_type).rents_gpus
    for machine_type in ("n1-standard-4", "e2-standard-2", "c4a-standard-4", "m3-ultramem-32"):
        assert not read_settings(**google, machine_type=machine_type).rents_gpus
        assert read_settings(**google, machine_type=machine_type, gpu="nvidia-tesla-t4").rents_gpus


@pytest.mark.parametrize("name", ["state", "inbox", "outbox", "model"])
def test_a_home_that_does_not_exist_is_a_wrong_value(name: str):
    with pytest.raises(SettingsError, match=rf"'{name}' = '~nosuch/x.keras' \(argument '{name}'\): it leads nowhere"):
        read_settings(**{name: "~nosuch/x.keras"})


def test_the_source_that_counts_is_blamed(empty_folder: Path, monkeypatch: pytest.MonkeyPatch):
    (empty_folder / "spotlift.toml").write_text("port = 0")
    with pytest.raises(SettingsError, match=r"\(.*spotlift\.toml\)"):
        read_settings()
    monkeypatch.setenv("SPOTLIFT_PORT", "0")
    with pytest.raises(SettingsError, match="environment variable SPOTLIFT_PORT"):
        read_settings()
    with pytest.raises(SettingsError, match="argument 'port'"):
        read_settings(port=0)


@pytest.mark.parametrize(
    "ledger",
    [
        "postgresql+psycopg://anna:sesame@db/x",
        "postgresql+psycopg://anna:ses@me@db/x",
        "postgresql+psycopg://anna@db/x?password=sesame&sslmode=require",
    ],
)
def test_the_password_of_the_ledger_is_shown_to_nobody_but_children(ledger: str):
    settings = read_settings(ledger=ledger)
    for shown in (repr(settings), str(settings), str(settings.shown())):
        assert "anna" in shown
        assert not any(part in shown for part in ("sesame", "ses@", "me@"))
    assert settings.environment()["SPOTLIFT_LEDGER"] == settings.ledger_url == ledger


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(SettingsError) as error:
        read_settings(machines=0, port=0)
    assert "'machines'" in str(error.value)
    assert "'port'" in str(error.value)


def test_a_setting_that_does_not_exist_and_a_file_that_is_none_are_errors(empty_folder: Path):
    (empty_folder / "spotlift.toml").write_text("machnies = 3")
    with pytest.raises(SettingsError, match=r"'machnies' that does not exist; known are .*machines"):
        read_settings()
    (empty_folder / "spotlift.toml").write_text("machines = = 3")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings()


def test_machines_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert read_settings(machines=2).threads == 4
    assert read_settings(machines=16).threads == 1
    assert read_settings(machines=2, machine_threads=3).threads == 3


@pytest.mark.parametrize("zones", ["", "us-central1", "us-central1-a,", "us-central1-a, nowhere"])
def test_what_is_no_zone_is_named(zones: str):
    with pytest.raises(SettingsError, match="is no zone; write them like us-central1-a"):
        read_settings(zones=zones)


def test_google_needs_a_project_an_address_that_its_machines_reach_and_a_label_for_them():
    with pytest.raises(SettingsError, match=r"(?s)'project'.*its default.*'controller'.*must be an address"):
        read_settings(cloud="google")
    with pytest.raises(SettingsError, match=r"'pool'.*must be a label of this controller's own"):
        read_settings(cloud="google", project="my-project", controller="10.0.0.2")
    settings = read_settings(cloud="google", project="my-project", controller="10.0.0.2", pool="mine")
    assert settings.machine_account == "spotlift-worker@my-project.iam.gserviceaccount.com"
    assert settings.container.startswith("us-central1-docker.pkg.dev/my-project/spotlift/worker:")
    assert settings.threads == 0  # a rented machine is there for us alone


@pytest.mark.parametrize("window", [60.0, "auto"])
def test_the_idle_window_is_a_number_or_follows_from_how_long_booting_takes(window: object):
    plan = PoolPlan.of(read_settings(idle_window=window))
    assert plan.idle(75.0) == timedelta(seconds=75 if window == "auto" else 60)


def test_a_plan_that_makes_no_sense_is_refused():
    settings = read_settings(machines=2, least_machines=5)
    assert PoolPlan.of(settings).least_machines == 2
    with pytest.raises(ValueError, match=r"least_machines \(3\) is more than machines \(2\)"):
        PoolPlan(**{**PoolPlan.of(settings).model_dump(), "least_machines": 3})
    with pytest.raises(ValueError, match="greater than 0"):
        PoolPlan(**{**PoolPlan.of(settings).model_dump(), "idle_window": 0})


@pytest.mark.parametrize("name", ["idle_window", "boot_deadline", "max_run", "budget_per_hour", "budget_per_day"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_no_machine_stays_for_ever_and_no_budget_is_endless(name: str, value: str):
    with pytest.raises(SettingsError, match=f"'{name}' = '{value}'.*a finite number"):
        read_settings(**{name: value})
    with pytest.raises(ValueError, match="a finite number"):
        PoolPlan(**{**PoolPlan.of(read_settings()).model_dump(), name: float(value)})


def test_a_span_that_no_clock_can_add_is_refused():
    with pytest.raises(SettingsError, match=r"'max_run'.*less than or equal to"):
        read_settings(max_run=1e15)


def test_a_batch_waits_longer_than_a_second_machine_needs_when_the_first_does_not_boot():
    settings = read_settings()
    assert settings.capacity_deadline >= 2 * settings.boot_deadline
