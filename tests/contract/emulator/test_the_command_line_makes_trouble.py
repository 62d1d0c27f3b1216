"""`spotlift emulator …`, against an emulator that runs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import emulator
from flows.cli.talk import UserError
from infra.emulator.remote import Remote
from tests.contract.emulator.renter import ZONE, Renter
from tests.contract.shell import Shell, sentence


def order(url: str, *arguments: str) -> None:
    """Give a command in this process; what it raises is raised here."""
    CliRunner().invoke(emulator.app, [*arguments, "--endpoint", url], catch_exceptions=False)


def test_machines_are_taken_away(renter: Renter):
    for number in range(3):
        renter.rent(f"vm-{number}")
    order(renter.url, "preempt", "vm-0", "--no-notice")
    assert renter.names() == ["vm-1", "vm-2"]
    order(renter.url, "preempt", "vm-1", "--notice", "60")
    told = {it["name"]: it["preempted"] for it in Remote(renter.url).machines()}
    assert told == {"vm-1": True, "vm-2": False}
    order(renter.url, "preempt", "all", "--no-notice")
    assert renter.names() == []


def test_trouble_begins_and_ends(url: str, remote: Remote):
    order(url, "stockout", ZONE, "--for", "60", "--available", "us-central1-b, us-central1-f")
    order(url, "quota", "GPUS_ALL_REGIONS", "3")
    order(url, "fault", "delete_fails", "--times", "2", "--how", "http")
    order(url, "fault", "slow_boot", "--delay", "5")
    order(url, "unreachable", "us-east4-a")
    told = {it["fault"]: it for it in remote.faults()}
    assert told["stockout"]["zones_available"] == ["us-central1-b", "us-central1-f"]
    assert told["quota"]["limit"] == 3
    assert told["delete_fails"] == {"fault": "delete_fails", "how": "http", "times": 2}
    assert told["slow_boot"]["delay"] == 5
    order(url, "stockout", ZONE, "--off")
    order(url, "fault", "slow_boot", "--off")
    assert {it["fault"] for it in remote.faults()} == {"quota", "delete_fails", "unreachable"}
    order(url, "quota", "GPUS_ALL_REGIONS")
    order(url, "calm")
    assert remote.faults() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("preempt", "vm-9"), "no instance vm-9"),
        (("stockout", "mars-north1-a"), "no zone mars-north1-a"),
        (("fault", "earthquake"), "no fault 'earthquake'"),
        (("fault", "slow_boot"), "needs --delay"),
        (("quota", "COFFEE", "1"), "no quota COFFEE"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(url: str, wrong: tuple[str, ...], said: str):
    with pytest.raises(UserError, match=said):
        order(url, *wrong)


def test_a_person_sees_machines_and_trouble(renter: Renter, tmp_path: Path):
    renter.rent("vm-1")
    order(renter.url, "stockout", ZONE)
    told = Shell(tmp_path)("emulator", "list", "--endpoint", renter.url)
    assert told.returncode == 0
    assert "vm-1" in told.stdout
    assert f"trouble: stockout (zone {ZONE})" in told.stdout


def test_nobody_answers(tmp_path: Path):
    assert "no emulator answers" in sentence(Shell(tmp_path)("emulator", "list", "--endpoint", "http://127.0.0.1:9"))
