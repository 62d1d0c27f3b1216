"""Every trouble that can be ordered, as somebody who rents machines meets it."""

import re
from pathlib import Path

import pytest
import requests
from google.api_core.exceptions import Forbidden, NotFound, ServiceUnavailable
from google.cloud import compute_v1

from infra.emulator import script
from infra.emulator.remote import EmulatorError, Remote
from infra.emulator.server import in_thread
from infra.emulator.world import World
from tests.contract.emulator.conftest import QUICK
from tests.contract.emulator.renter import ZONE, Renter
from tests.waiting import eventually


def error_of(operation) -> tuple[str, int]:
    (error,) = operation.error.errors
    return error.code, operation.http_error_status_code


def test_a_stockout_is_told_by_the_operation_and_the_machine_vanishes(renter: Renter, remote: Remote):
    remote.stockout(ZONE, times=1)
    done = renter.wait(renter.insert("vm-1"))
    assert error_of(done) == ("ZONE_RESOURCE_POOL_EXHAUSTED", 503)
    with pytest.raises(NotFound):
        renter.get("vm-1")
    renter.rent("vm-1")  # it was for one request


def test_a_stockout_may_name_zones_that_have_some(renter: Renter, remote: Remote):
    remote.stockout(ZONE, ["us-central1-b", "us-central1-f"])
    done = renter.wait(renter.insert("vm-1", machine_type="n1-standard-4", gpu="nvidia-tesla-t4"))
    assert error_of(done) == ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503)
    info = next(it.error_info for it in done.error.errors[0].error_details if it.error_info.reason)
    assert info.reason == "resource_availability"
    assert dict(info.metadatas) == {
        "vmType": "n1-standard-4",
        "attachment": "nvidia-tesla-t4:1",
        "zone": ZONE,
        "zonesAvailable": "us-central1-b,us-central1-f",
    }
    renter.rent("vm-2", "us-central1-b")
    remote.stockout(ZONE, off=True)
    renter.rent("vm-1")


def test_a_quota_of_a_region_is_told_by_the_operation(renter: Renter, remote: Remote):
    remote.quota("PREEMPTIBLE_NVIDIA_L4_GPUS", 1, "us-central1")
    renter.rent("vm-1")
    done = renter.wait(renter.insert("vm-2", "us-central1-b"), "us-central1-b")
    assert error_of(done) == ("QUOTA_EXCEEDED", 403)
    said = "Quota 'PREEMPTIBLE_NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1."
    assert done.error.errors[0].message == said
    renter.rent("vm-2", "us-east4-a")  # another region
    renter.rent("vm-3", spot=False)  # another quota


def test_a_quota_of_all_regions_counts_every_gpu(renter: Renter, remote: Remote):
    remote.quota("GPUS_ALL_REGIONS", 1)
    renter.rent("vm-1")
    done = renter.wait(renter.insert("vm-2", "us-east4-a"), "us-east4-a")
    assert "GPUS_ALL_REGIONS" in done.error.errors[0].message
    assert done.error.errors[0].error_details[0].quota_info.limit == 1
    renter.wait(renter.delete("vm-1"))
    renter.rent("vm-2", "us-east4-a")


def test_too_many_requests_are_turned_away(renter: Renter, remote: Remote):
    remote.rate_limit(times=1)
    with pytest.raises(Forbidden) as caught:
        renter.names()
    assert caught.value.errors[0]["reason"] == "rateLimitExceeded"
    assert renter.names() == []


def test_the_service_may_be_unavailable(renter: Renter, remote: Remote):
    remote.unavailable(times=2)
    with pytest.raises(ServiceUnavailable):
        renter.insert("vm-1")
    with pytest.raises(ServiceUnavailable):
        renter.insert("vm-1")
    renter.rent("vm-1")


def test_an_answer_is_lost_after_the_machine_was_made(renter: Renter, remote: Remote):
    remote.lose_answer()
    with pytest.raises(requests.exceptions.ConnectionError):
        renter.insert("vm-1", request_id="11111111-1111-1111-1111-111111111111")
    assert renter.names() == ["vm-1"]
    again = renter.insert("vm-1", request_id="11111111-1111-1111-1111-111111111111")
    assert not renter.wait(again).error.errors
    assert renter.names() == ["vm-1"]


def test_a_deletion_fails_in_its_operation(renter: Renter, remote: Remote):
    renter.rent("vm-1")
    remote.delete_fails(times=1)
    assert error_of(renter.wait(renter.delete("vm-1"))) == ("INTERNAL_ERROR", 500)
    assert renter.get("vm-1").status == "RUNNING"
    renter.wait(renter.delete("vm-1"))
    assert renter.names() == []


def test_a_deletion_fails_at_once(renter: Renter, remote: Remote):
    renter.rent("vm-1")
    remote.delete_fails(times=1, how="http")
    with pytest.raises(ServiceUnavailable):
        renter.delete("vm-1")
    renter.wait(renter.delete("vm-1"))


def test_a_machine_is_preempted_before_it_runs(renter: Renter, remote: Remote):
    remote.preempt_early()
    renter.wait(renter.insert("vm-1"))
    eventually("it is gone", lambda: renter.names() == [], 10)
    request = compute_v1.ListZoneOperationsRequest(project=renter.project, zone=ZONE, filter="user=system")
    assert [it.operation_type for it in renter.zone_operations.list(request)] == ["compute.instances.preempted"]


def test_all_spot_machines_are_preempted_at_once_and_no_others(renter: Renter, remote: Remote):
    for number in range(3):
        renter.rent(f"vm-{number}", spot=number > 0)
    remote.preempt_all(notice=None)
    assert renter.names() == ["vm-0"]
    with pytest.raises(EmulatorError, match="not a spot instance"):
        remote.preempt("vm-0")


def test_a_preempted_machine_that_is_not_to_be_deleted_is_left_stopped(renter: Renter, remote: Remote):
    renter.rent("vm-1", instance_termination_action="STOP")
    remote.preempt("vm-1", notice=0)
    eventually("it is stopped", lambda: renter.get("vm-1").status == "TERMINATED", 10)


def test_a_machine_never_boots_and_another_boots_slowly(renter: Renter, remote: Remote):
    remote.no_boot(times=1)
    remote.slow_boot(30.0)
    renter.rent("vm-1")
    remote.slow_boot(0.3)
    renter.rent("vm-2")
    machine = remote.machine("vm-2")
    assert machine is not None
    assert (machine["status"], machine["booted"]) == ("RUNNING", False)
    eventually("vm-2 boots", lambda: (remote.machine("vm-2") or {})["booted"], 10)
    assert (remote.machine("vm-1") or {})["booted"] is False


def test_a_zone_that_does_not_answer_is_named(renter: Renter, remote: Remote):
    renter.rent("vm-1")
    renter.rent("vm-2", "us-central1-b")
    remote.unreachable(ZONE)
    request = compute_v1.AggregatedListInstancesRequest(project=renter.project)
    (page,) = renter.instances.aggregated_list(request).pages
    assert page.items[f"zones/{ZONE}"].warning.code == "UNREACHABLE"
    assert [it.rpartition("/")[2] for it in page.unreachables] == [ZONE]
    assert renter.names() == ["vm-2"]
    remote.unreachable(ZONE, off=True)
    assert renter.names() == ["vm-1", "vm-2"]


def test_trouble_can_be_seen_and_ended(remote: Remote):
    remote.stockout(ZONE, [], times=2)
    remote.quota("GPUS_ALL_REGIONS", 0)
    remote.slow_boot(2.0, seconds=100)
    told = {it["fault"]: it for it in remote.faults()}
    assert told["stockout"] == {"fault": "stockout", "zone": ZONE, "times": 2, "zones_available": []}
    assert told["quota"]["limit"] == 0
    assert 90 < told["slow_boot"]["seconds"] <= 100
    remote.calm()
    assert remote.faults() == []


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "earthquake"},
        {"fault": "stockout", "zone": "mars-north1-a"},
        {"fault": "stockout"},
        {"fault": "quota", "metric": "COFFEE", "limit": 1},
        {"fault": "rate_limit", "times": "often"},
        {"fault": "no_boot", "sometimes": True},
        {"fault": "preempt"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(remote: Remote, order: dict):
    with pytest.raises(EmulatorError, match=r"\w+ \w+"):
        remote.order(order.pop("fault"), **order)
    assert remote.faults() == []


def test_nobody_answers():
    with pytest.raises(EmulatorError, match=r"no emulator answers at http://127\.0\.0\.1:9"):
        Remote("http://127.0.0.1:9").machines()


def test_a_script_makes_trouble_by_itself(tmp_path: Path):
    path = tmp_path / "trouble.toml"
    path.write_text(
        """
        [[fault]]
        at = 0
        fault = "stockout"
        zone = "us-central1-b"

        [[fault]]
        after_inserts = 2
        at = 0.3
        fault = "preempt"
        all = true
        no_notice = true
        """
    )
    world = World(QUICK)
    script.follow(world, script.read(path), 0.0)
    with in_thread(world) as url:
        renter = Renter(url)
        renter.rent("vm-1")
        assert renter.wait(renter.insert("vm-2", "us-central1-b"), "us-central1-b").error.errors
        assert renter.names() == ["vm-1"]
        eventually("all are preempted", lambda: renter.names() == [], 10)
        renter.close()


@pytest.mark.parametrize(
    "text", ["fault = 3", "[[fault]]\nfault = 'earthquake'", "[[fault]", "[[fault]]\nfault='stockout'\n[other]"]
)
def test_a_script_that_makes_no_sense_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "trouble.toml"
    path.write_text(text)
    with pytest.raises(script.ScriptError, match=re.escape(str(path))):
        script.read(path)
