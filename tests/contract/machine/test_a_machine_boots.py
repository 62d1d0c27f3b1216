"""From boot to power-off: the startup script, with stand-ins for what this computer has not."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.machine.cloud import Cloud, Signer
from tests.waiting import eventually

SCRIPT = Path(__file__).parents[3] / "infra" / "machines" / "startup.sh"
PRIVATE = "us-central1-docker.pkg.dev/p/spotlift/worker:0.1.0"

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $1" in
  "docker login") cat >"$CALLS.password"; ls "$DOCKER_CONFIG" ;;
  "docker pull") test -e "$CALLS.pulls" || { touch "$CALLS.pulls"; exit 1; } ;;
  "docker run") touch "$CALLS.runs"; trap 'exit 7' TERM; while test -e "$CALLS.wait"; do sleep 0.05; done ;;
  nvidia-smi*) test -e "$CALLS.driver" || { touch "$CALLS.driver"; exit 9; } ;;
esac
"""


@pytest.fixture
def boot(tmp_path: Path, signer: Signer) -> Iterator[Callable[..., subprocess.Popen]]:
    """Call it with the attributes of a VM to boot it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "nvidia-smi", "poweroff"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    started: list[tuple[subprocess.Popen, Cloud]] = []

    def start(**attributes: str) -> subprocess.Popen:
        given = {f"spotlift-{key}": value for key, value in attributes.items()}
        cloud = Cloud("vm-1", signer, given).__enter__()
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
        environment |= {"GCE_METADATA_HOST": cloud.host, "CALLS": str(tmp_path / "calls")}
        with (tmp_path / "console").open("wb") as console:
            script = subprocess.Popen(
                ["bash", SCRIPT], env=environment, stdout=console, stderr=console, start_new_session=True
            )
        started.append((script, cloud))
        return script

    yield start
    for script, cloud in started:
        script.kill()
        script.wait()
        cloud.__exit__()


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_a_machine_with_a_gpu_awaits_its_driver_logs_in_works_and_powers_off(boot: Callable, tmp_path: Path):
    script = boot(image=PRIVATE, gpus="2", logs="gcplogs")
    assert script.wait(30) == 0
    login = "docker login --username oauth2accesstoken --password-stdin https://us-central1-docker.pkg.dev"
    assert calls(tmp_path) == [
        *["nvidia-smi "] * 2,
        *[login, f"docker pull --quiet {PRIVATE}"] * 2,  # the first pull fails
        "docker run --rm --network host --stop-timeout 120 --env GCE_METADATA_HOST --gpus all --log-driver=gcplogs "
        f"{PRIVATE} python -m workers.machine",
        "poweroff ",
    ]
    assert (tmp_path / "calls.password").read_text() == "ya29.secret\n"
    assert "secret" not in (tmp_path / "console").read_text()
    assert not list(tmp_path.glob("tmp.*"))  # the token for the registry is gone


def test_a_machine_without_a_gpu_and_with_a_public_image_needs_neither(boot: Callable, tmp_path: Path):
    (tmp_path / "calls.pulls").touch()
    assert boot(image="ghcr.io/spotlift/worker:0.1.0").wait(30) == 0
    assert [call.split()[:2] for call in calls(tmp_path)] == [["docker", "pull"], ["docker", "run"], ["poweroff"]]


def test_a_machine_powers_off_when_it_does_not_know_what_to_run(boot: Callable, tmp_path: Path):
    assert boot(gpus="1").wait(30) != 0
    assert calls(tmp_path) == ["poweroff "]


def test_a_machine_that_is_told_to_go_waits_for_its_container(boot: Callable, tmp_path: Path):
    (tmp_path / "calls.pulls").touch()
    (tmp_path / "calls.wait").touch()
    script = boot(image="worker")
    eventually("the container runs", (tmp_path / "calls.runs").exists)
    os.kill(script.pid, signal.SIGTERM)  # only the script; the container still works
    with pytest.raises(subprocess.TimeoutExpired):
        script.wait(0.5)
    os.killpg(script.pid, signal.SIGTERM)
    assert script.wait(30) == 7
    assert calls(tmp_path)[-1] == "poweroff "
    assert "is told to go" in (tmp_path / "console").read_text()
