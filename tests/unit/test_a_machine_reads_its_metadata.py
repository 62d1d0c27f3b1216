"""What a VM is told about itself, by a real metadata server."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.contract.machine.cloud import Cloud, Signer
from tests.contract.machine.life import free_port
from workers.machine.metadata import Assignment, Metadata, NotThere

GIVEN = {
    "spotlift-scheduler": "tls://10.0.0.2:8786",
    "spotlift-registrar": "https://10.0.0.2:8787",
    "spotlift-authority": "PEM",
    "spotlift-audience": "spotlift-life-7-k4f2",
    "spotlift-model": "",
    "spotlift-gpus": "2",
    "spotlift-threads": "4",
    "spotlift-idle-limit": "90",
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def cloud(signer: Signer) -> Iterator[Cloud]:
    with Cloud("vm-7", signer, GIVEN) as cloud:
        yield cloud


def test_a_machine_learns_what_it_is_for(cloud: Cloud):
    assert Assignment.read(Metadata(cloud.host)) == Assignment(
        name="vm-7",
        scheduler="tls://10.0.0.2:8786",
        registrar="https://10.0.0.2:8787",
        authority="PEM",
        audience="spotlift-life-7-k4f2",
        model="",
        gpus=2,
        threads=4,
        idle_limit=90.0,
    )


def test_what_is_missing_is_named(cloud: Cloud):
    del cloud.attributes["spotlift-registrar"]
    with pytest.raises(NotThere, match="spotlift-registrar"):
        Assignment.read(Metadata(cloud.host))


def test_each_of_several_gpus_has_a_worker_of_its_own(cloud: Cloud):
    assignment = Assignment.read(Metadata(cloud.host))
    assert assignment.members == ("vm-7.0", "vm-7.1")
    assert dataclasses.replace(assignment, gpus=1).members == ("vm-7",)
    assert dataclasses.replace(assignment, gpus=0).members == ("vm-7",)


def test_a_change_is_told_when_it_happens(cloud: Cloud):
    metadata = Metadata(cloud.host)
    value, etag = metadata.wait_for_change("instance/preempted")
    assert value == "FALSE"
    cloud.preempt()
    assert metadata.wait_for_change("instance/preempted", etag)[0] == "TRUE"


def test_the_address_is_the_one_that_the_libraries_of_the_cloud_use():
    assert Metadata.here({}).host == "metadata.google.internal"
    assert Metadata.here({"GCE_METADATA_HOST": "127.0.0.9:80"}).host == "127.0.0.9:80"


def test_no_proxy_is_asked(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert Metadata(cloud.host).name() == "vm-7"


def test_a_server_that_is_not_there_is_an_error_of_the_system():
    with pytest.raises(OSError, match="refused"):
        Assignment.read_patiently(Metadata(f"127.0.0.1:{free_port()}"), patience=0.1)
