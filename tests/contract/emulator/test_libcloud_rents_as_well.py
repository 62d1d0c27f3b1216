"""A second client, by other people: apache-libcloud's driver of Compute Engine."""

import json
from pathlib import Path

import pytest
from libcloud.compute.drivers.gce import GCEConnection, GCENodeDriver
from libcloud.compute.types import NodeState

from infra.emulator.remote import Remote
from tests.contract.emulator.renter import PROJECT, ZONE


@pytest.fixture
def driver(url: str, tmp_path: Path) -> GCENodeDriver:
    """It has a token already, as after an earlier log-in, so it asks nobody for one."""
    credentials = tmp_path / "credentials"
    credentials.write_text(json.dumps({"access_token": "any", "expire_time": "2099-01-01T00:00:00Z"}))

    class Here(GCEConnection):
        base_url = url
        poll_interval = 0.05

    class Driver(GCENodeDriver):
        connectionCls = Here  # noqa: N815 - libcloud's name

    return Driver("nobody", "nothing", ZONE, PROJECT, auth_type="IA", credential_file=str(credentials), secure=False)


def test_it_sees_what_there_is(driver: GCENodeDriver):
    assert len(driver.ex_list_zones()) == 24
    assert {"g2-standard-4", "e2-small"} <= {it.name for it in driver.list_sizes()}
    assert {it.name for it in driver.ex_list_regions()} >= {"us-central1", "europe-west4"}
    assert driver.list_images("debian-cloud")


def test_it_rents_and_gives_back(driver: GCENodeDriver):
    image = driver.ex_get_image_from_family("debian-12", ["debian-cloud"])
    node = driver.create_node("vm-1", "e2-small", image, ex_labels={"pool": "a"}, ex_metadata={"key": "value"})
    assert node.state == NodeState.RUNNING
    assert [it.name for it in driver.list_nodes()] == ["vm-1"]
    assert driver.ex_get_node("vm-1").extra["labels"] == {"pool": "a"}
    assert driver.destroy_node(node)
    assert driver.list_nodes() == []


def test_it_understands_a_stockout(driver: GCENodeDriver, url: str):
    Remote(url).stockout(ZONE)
    image = driver.ex_get_image_from_family("debian-12", ["debian-cloud"])
    with pytest.raises(Exception, match="does not have enough resources"):
        driver.create_node("vm-1", "e2-small", image)
