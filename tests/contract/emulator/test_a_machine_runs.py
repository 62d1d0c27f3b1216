"""What runs in a machine: its startup script, with stand-ins, from boot to whatever ends it."""

import time
from pathlib import Path

import psutil
import pytest

from infra.emulator.families import MARK
from infra.emulator.remote import Remote
from infra.emulator.world import Times
from tests.contract.emulator.renter import PROJECT, ZONE, Renter
from tests.waiting import eventually

STUBBORN = "trap 'echo told' TERM; echo up; while true; do sleep 0.05; done"
OBEDIENT = "trap 'echo told; exit 0' TERM; echo up; while true; do sleep 0.05; done"
GONE = "setsid sleep 60 & env -i setsid sleep 61 & env -i sleep 62 & echo up; wait"
"""Processes that make themselves a session, drop their environment, or both."""


def console(tenant: Renter, name: str) -> str:
    return str(tenant.instances.get_serial_port_output(project=PROJECT, zone=ZONE, instance=name).contents)


def boot(tenant: Renter, name: str, script: str, says: str = "up", **details) -> None:
    tenant.rent(name, script=script, **details)
    eventually(f"{name} says {says}", lambda: says in console(tenant, name), 20)


def processes(folder: Path) -> list[psutil.Process]:
    """All that live and belong to machines in that folder."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK, "").startswith(str(folder))
            if (marked or process.cwd().startswith(str(folder))) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def folder(state: Path) -> Path:
    return state / "instances"


def test_a_startup_script_runs_in_a_clean_place_of_its_own(tenant: Renter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_OF_THE_CONTROLLER", "hidden")
    monkeypatch.setenv("SPOTLIFT_STACK", "this-stack")
    boot(tenant, "vm-1", "env; pwd; echo up; sleep 60")
    said = console(tenant, "vm-1")
    names = {line.partition("=")[0] for line in said.splitlines() if "=" in line}
    usual = {"PATH", "HOME", "TMPDIR", "LANG", "GCE_METADATA_HOST", "SPOTLIFT_STACK", MARK}
    assert names <= usual | {"PWD", "SHLVL", "_", "OLDPWD"}
    assert usual <= names
    assert "hidden" not in said
    assert "SPOTLIFT_STACK=this-stack" in said


def test_a_script_that_ends_leaves_its_machine_running(tenant: Renter):
    boot(tenant, "vm-1", "echo up")
    time.sleep(0.3)
    assert tenant.get("vm-1").status == "RUNNING"
    tenant.wait(tenant.delete("vm-1"))
    assert tenant.names() == []


def test_a_machine_powers_itself_off_and_stays_listed(tenant: Renter):
    tenant.rent("vm-1", script="sleep 0.1; shutdown -h now; sleep 60")
    eventually("it is off", lambda: tenant.get("vm-1").status == "TERMINATED", 20)
    types = {it.operation_type: it.user for it in tenant.zone_operations.list(project=PROJECT, zone=ZONE)}
    assert types["compute.instances.guestTerminate"] == "system"
    tenant.wait(tenant.delete("vm-1"))


def test_a_deleted_machine_is_told_and_ends_sooner_if_it_obeys(tenant: Renter, folder: Path):
    boot(tenant, "obedient", OBEDIENT)
    began = time.monotonic()
    tenant.wait(tenant.delete("obedient"))
    assert time.monotonic() - began < 3  # and not the five seconds that it might have had
    eventually("nothing is left", lambda: not processes(folder), 10)
    log = next((folder.parent / "consoles").glob("obedient-*"))
    assert [line for line in log.read_text().splitlines() if line != "Terminated"] == ["up", "told"]


def test_a_preempted_machine_has_its_notice_then_a_signal_then_none(at, tmp_path: Path):
    tenant = at(Times(provisioning=0.05, staging=0.05, stopping=0.05, grace=0.5), tmp_path / "emulator")
    boot(tenant, "vm-1", STUBBORN)
    Remote(tenant.url).preempt("vm-1", notice=0.5)
    time.sleep(0.25)
    assert tenant.get("vm-1").status == "RUNNING"
    assert "told" not in console(tenant, "vm-1")
    eventually("it is told", lambda: "told" in console(tenant, "vm-1"), 10)
    assert tenant.get("vm-1").status == "STOPPING"
    eventually("it is gone", lambda: tenant.names() == [], 10)
    eventually("nothing is left", lambda: not processes(tmp_path / "emulator" / "instances"), 10)


def test_nothing_gets_away_from_a_machine_that_goes_without_notice(tenant: Renter, host: str, folder: Path):
    boot(tenant, "vm-1", GONE)
    eventually("all have begun", lambda: len(processes(folder)) >= 4, 10)
    Remote(host).preempt("vm-1", notice=None)
    assert tenant.names() == []
    eventually("all have ended", lambda: not [it for it in processes(folder) if "62" in it.cmdline()[-1:]], 10)
    eventually("nothing with the mark is left", lambda: not [p for p in processes(folder) if MARK in p.environ()], 10)
    for straggler in processes(folder):  # dropped both its session and its environment: nobody finds that one
        straggler.kill()


def test_a_container_is_a_process_with_an_environment_of_its_own(tenant: Renter):
    script = """
    export OUTSIDE=seen HIDDEN=unseen
    docker login --username u --password-stdin https://registry <<<secret
    docker pull --quiet registry/image:1
    docker run --rm --name one -e A=1 --env OUTSIDE --gpus all --network=host registry/image:1 \\
        python -c 'import os, sys; print(os.environ["A"], os.environ["OUTSIDE"], "HIDDEN" in os.environ); sys.exit(7)'
    echo code=$?
    docker run --rm -d --name two registry/image:1 bash -c 'trap "echo told; exit 3" TERM; while :; do sleep 0.05; done'
    sleep 0.3; docker stop two; sleep 0.3; docker logs two; docker rm two
    echo up; sleep 60
    """
    boot(tenant, "vm-1", script)
    said = console(tenant, "vm-1").splitlines()
    assert said == ["Login Succeeded", "registry/image:1", "1 seen False", "code=7", "two", "two", "told", "up"]


def test_the_driver_knows_the_gpus_of_the_machine(tenant: Renter):
    query = "nvidia-smi --query-gpu=index,name,memory.total --format=csv,noheader,nounits"
    boot(tenant, "vm-1", f"nvidia-smi -L | wc -l; {query}; echo up", machine_type="g2-standard-24")
    assert console(tenant, "vm-1").split("\n")[:3] == ["2", "0, NVIDIA L4, 23034", "1, NVIDIA L4, 23034"]
    boot(tenant, "vm-2", "nvidia-smi || echo code=$?; echo up", machine_type="e2-small")
    assert "code=9" in console(tenant, "vm-2")


def test_the_console_can_be_read_in_pieces(tenant: Renter):
    boot(tenant, "vm-1", "printf 0123456789; echo up; sleep 60")
    part = tenant.instances.get_serial_port_output(
        {"project": PROJECT, "zone": ZONE, "instance": "vm-1", "start": 4, "port": 1}
    )
    assert (part.contents, part.start, part.next_) == ("456789up\n", 4, 13)
    end = tenant.instances.get_serial_port_output({"project": PROJECT, "zone": ZONE, "instance": "vm-1", "start": -3})
    assert end.contents == "up\n"


def test_a_machine_that_never_boots_runs_nothing(tenant: Renter, host: str):
    Remote(host).no_boot(times=1)
    tenant.rent("vm-1", script="echo up; sleep 60")
    boot(tenant, "vm-2", "echo up; sleep 60")
    assert console(tenant, "vm-1") == ""
    assert tenant.get("vm-1").status == "RUNNING"
