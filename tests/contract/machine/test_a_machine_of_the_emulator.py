"""The very startup script of a rented machine, run by the emulator, from the request for a machine to its power-off."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.emulator.remote import Remote
from infra.pool import dispatch
from tests.contract.machine import work
from tests.contract.machine.cloud import PROJECT, ZONE
from tests.contract.machine.life import ENVIRONMENT, Life
from tests.waiting import eventually

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[3] / "infra" / "machines" / "startup.sh"

IMAGE = "projects/debian-cloud/global/images/family/debian-12"
DISK = f"zones/{ZONE}/diskTypes/pd-balanced"


@pytest.fixture
def emulator(new_life: Life) -> Iterator[Remote]:
    """An emulator, and a life whose machines are identified by it."""
    state = new_life.folder / "emulator"
    command = [sys.executable, "-m", "infra.emulator", "--port", "0", "--state", str(state), "--stopping", "0.1"]
    new_life.processes.start("emulator", command, ENVIRONMENT)
    eventually("the emulator listens", lambda: (state / "emulator.json").exists())
    remote = Remote(json.loads((state / "emulator.json").read_text())["url"])
    remote.await_answer()
    new_life.start_scheduler()
    new_life.start_registrar(certs_url=f"{remote.url}/oauth2/v1/certs")
    yield remote
    new_life.processes.stop(["emulator"])


def insert(emulator: Remote, life: Life, name: str, **attributes: str) -> None:
    """Ask for a spot machine with a GPU that belongs to the life; without an account it would have no identity."""
    (life.folder / "expected" / name).write_text(ZONE)
    given = {
        "startup-script": SCRIPT.read_text(),
        **life.metadata(gpus="1", image=f"us-central1-docker.pkg.dev/{PROJECT}/spotlift/worker:0.1.0", **attributes),
    }
    machine: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/g2-standard-4",
        "scheduling": {"provisioningModel": "SPOT", "onHostMaintenance": "TERMINATE"},
        "disks": [{"boot": True, "initializeParams": {"sourceImage": IMAGE, "diskType": DISK}}],
        "serviceAccounts": [{"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
        "networkInterfaces": [{"network": "global/networks/default"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in given.items()]},
    }
    address = f"{emulator.url}/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"
    answer = httpx.post(address, json=machine)
    assert answer.status_code == 200, answer.text


def console(life: Life, name: str) -> str:
    return "".join(path.read_text() for path in (life.folder / "emulator" / "consoles").glob(f"{name}-*.log"))


def test_a_machine_is_rented_works_is_preempted_and_is_gone(new_life: Life, emulator: Remote, tmp_path: Path):
    insert(emulator, new_life, "vm-1")
    client = new_life.client()
    eventually("it joins", lambda: dispatch.machines_of(client) == {"vm-1"})
    chunk = client.submit(work.images, (str(tmp_path), (1, 2)), pure=False, retries=0)
    eventually("image 1 is in hand", (tmp_path / "begun-1").exists)
    emulator.preempt("vm-1")
    eventually("it is told", lambda: "vm-1 was told to go" in console(new_life, "vm-1"))
    (tmp_path / "end-1").touch()
    assert chunk.result(timeout=20) == ([1], [2])
    chunk.release()
    eventually("it is off", lambda: "powers off (exit code 0)" in console(new_life, "vm-1"), within=20)
    eventually("it is not RUNNING", lambda: _status(emulator, "vm-1") in ("STOPPING", "TERMINATED", ""), within=20)
    said = console(new_life, "vm-1")
    assert "the driver of the GPU is there" in said
    assert "access_token" not in said
    assert "PRIVATE KEY" not in said


def test_a_machine_that_is_refused_powers_itself_off(new_life: Life, emulator: Remote):
    insert(emulator, new_life, "vm-2", audience="another-life")
    eventually("it is off", lambda: "powers off (exit code 3)" in console(new_life, "vm-2"), within=30)
    eventually("it is not RUNNING", lambda: _status(emulator, "vm-2") in ("STOPPING", "TERMINATED", ""), within=20)


def _status(emulator: Remote, name: str) -> str:
    machine = emulator.machine(name)
    return str(machine["status"]) if machine else ""
