"""A third client: Google's own command line, where it is installed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.remote import Remote
from tests.contract.emulator.renter import ZONE, Renter

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed here")
SPOT = ("--machine-type=g2-standard-4", "--provisioning-model=SPOT", "--instance-termination-action=DELETE")
IMAGE = ("--image-family=debian-12", "--image-project=debian-cloud")


@pytest.fixture
def gcloud(renter: Renter, tmp_path: Path) -> Callable[..., Any]:
    """Call it with the words after `gcloud compute` for what it prints; raises CalledProcessError."""
    settings = {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{renter.url}/compute/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": renter.project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    }

    def run(*words: str) -> Any:
        command = ["gcloud", "compute", *words, "--format=json"]
        done = subprocess.run(
            command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120, check=True
        )
        return json.loads(done.stdout or "null")

    return run


def test_it_rents_and_gives_back(gcloud: Callable[..., Any], renter: Renter):
    (made,) = gcloud("instances", "create", "vm-1", f"--zone={ZONE}", *SPOT, *IMAGE, "--labels=pool=a")
    assert (made["name"], made["status"], made["labels"]) == ("vm-1", "RUNNING", {"pool": "a"})
    assert renter.names() == ["vm-1"]
    assert [it["name"] for it in gcloud("instances", "list", "--filter=labels.pool=a")] == ["vm-1"]
    gcloud("instances", "delete", "vm-1", f"--zone={ZONE}")
    assert renter.names() == []


def test_it_understands_a_stockout(gcloud: Callable[..., Any], renter: Renter):
    Remote(renter.url).stockout(ZONE, ["us-central1-b"])
    with pytest.raises(subprocess.CalledProcessError) as caught:
        gcloud("instances", "create", "vm-1", f"--zone={ZONE}", *SPOT, *IMAGE)
    assert "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS" in caught.value.stderr
    assert "zonesAvailable: us-central1-b" in caught.value.stderr
