"""One emulator for all tests about the cloud; each test has a project of its own in it, and ends its own trouble."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from infra.emulator.remote import Remote
from infra.machines.calls import Calls
from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError
from infra.machines.patience import Patience
from infra.machines.spec import Gpu, Instance, MachineSpec, Operation, Order
from tests.emulated import Emulator, emulator

POOL = "spot-gpu"
ZONE = "us-central1-a"
SPEC = MachineSpec(
    machine_type="n1-standard-4",
    gpu=Gpu("nvidia-tesla-t4"),
    image="projects/debian-cloud/global/images/family/debian-12",
    startup_script="#!/bin/bash\necho booted\n",
    max_run=timedelta(hours=1),
)
IMPATIENT = Calls(Patience(total=2.0, first=0.05, longest=0.5, request=10.0))
SOON = 15.0
"""Seconds within which anything here happens."""


@pytest.fixture(scope="package")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """States only: nothing runs in these machines."""
    folder: Path = tmp_path_factory.mktemp("cloud")
    with emulator(folder, processes=False) as running:
        yield running


@pytest.fixture
def trouble(emulated: Emulator) -> Iterator[Remote]:
    """Makes trouble; it ends with the test."""
    yield emulated.remote
    emulated.remote.calm()


@pytest.fixture
def cloud(emulated: Emulator) -> Iterator[Cloud]:
    """A project without machines, through the official client."""
    cloud = Cloud.at(f"test-{uuid.uuid4().hex[:8]}", emulated.url, IMPATIENT)
    yield cloud
    cloud.close()


@pytest.fixture
def order() -> Callable[..., Order]:
    """Call it for an order of one more machine of the pool."""

    def one_more(zone: str = ZONE, pool: str = POOL, name: str | None = None) -> Order:
        labels = {"spotlift-pool": pool, "spotlift-life": "7"}
        return Order(name or f"vm-{uuid.uuid4().hex[:8]}", zone, str(uuid.uuid4()), labels, {"spotlift-model": "fast"})

    return one_more


def failure(cloud: Cloud, operation: Operation) -> CloudError:
    """Why an operation failed."""
    outcome = cloud.wait(operation, SOON)
    assert outcome.done
    assert outcome.error is not None
    return outcome.error


def made(cloud: Cloud, operation: Operation, name: str) -> Instance:
    """The machine that an operation has made."""
    outcome = cloud.wait(operation, SOON)
    assert outcome.done
    assert outcome.error is None, outcome.error
    instance = cloud.instance(name, operation.zone)
    assert instance is not None
    return instance
