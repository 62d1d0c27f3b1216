"""The whole life of a machine, asked for with the official client."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from infra.machines.cloud import Cloud
from infra.machines.errors import AlreadyThere, NotThere
from infra.machines.spec import Departure, Gpu, Operation
from tests.contract.machines.conftest import POOL, SOON, SPEC, ZONE, made
from tests.emulated import emulator
from tests.waiting import eventually


def test_a_machine_lives_and_goes(cloud, order):
    wanted = order()
    operation = cloud.rent(SPEC, wanted)
    assert operation.zone == ZONE

    instance = made(cloud, operation, wanted.name)
    assert instance.zone == ZONE
    assert instance.labels == wanted.labels
    assert datetime.fromisoformat(instance.created).tzinfo is not None
    eventually("it runs", lambda: cloud.listing(POOL).instances[wanted.name].status == "RUNNING", SOON)
    assert cloud.outcome(operation).done

    deletion = cloud.give_back(wanted.name, ZONE)
    assert deletion is not None
    assert cloud.wait(deletion, SOON).error is None
    assert cloud.instance(wanted.name, ZONE) is None
    assert cloud.listing(POOL).instances == {}
    assert cloud.give_back(wanted.name, ZONE) is None, "it is gone already"
    assert cloud.why_gone(wanted.name, ZONE) is Departure.DELETED


def test_asking_twice_makes_one_machine(cloud, order, emulated):
    wanted = order()
    before = emulated.remote.inserts()
    first, second = cloud.rent(SPEC, wanted), cloud.rent(SPEC, wanted)
    assert first == second
    assert emulated.remote.inserts() == before + 1
    assert list(cloud.listing(POOL).instances) == [wanted.name]


def test_a_name_that_is_taken_is_told(cloud, order):
    wanted = order()
    cloud.rent(SPEC, wanted)
    with pytest.raises(AlreadyThere):
        cloud.rent(SPEC, order(name=wanted.name))


def test_giving_back_twice_with_the_same_id_is_one_deletion(cloud, order):
    wanted = order()
    made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    first = cloud.give_back(wanted.name, ZONE, wanted.request_id[::-1])
    assert first == cloud.give_back(wanted.name, ZONE, wanted.request_id[::-1])


def test_only_machines_of_the_pool_are_listed_from_all_zones(cloud, order):
    ours = [order("us-central1-a"), order("europe-west4-b"), order("us-east4-c")]
    for wanted in [*ours, order(pool="spot-gpu-2"), order(pool="another")]:
        cloud.rent(SPEC, wanted)
    listing = cloud.listing(POOL)
    assert {name: it.zone for name, it in listing.instances.items()} == {it.name: it.zone for it in ours}
    assert listing.silent_zones == frozenset()


def test_a_listing_goes_over_pages(cloud, order, monkeypatch):
    monkeypatch.setattr("infra.machines.cloud._PAGE", 2)
    wanted = set()
    for zone in ("us-central1-a", "us-central1-a", "us-central1-b", "us-east4-a", "us-east4-a"):
        it = order(zone)
        wanted.add(it.name)
        cloud.rent(SPEC, it)
    assert set(cloud.listing(POOL).instances) == wanted
    assert len(cloud.zones_with(SPEC)) > 2


def test_many_threads_share_one_cloud(cloud, order):
    orders = [order() for _ in range(16)]
    with ThreadPoolExecutor(8) as threads:
        operations = list(threads.map(lambda it: cloud.rent(SPEC, it), orders))
        outcomes = list(threads.map(lambda it: cloud.wait(it, SOON), operations))
        listings = list(threads.map(lambda _: cloud.listing(POOL), range(8)))
    assert all(outcome.done and outcome.error is None for outcome in outcomes)
    assert all(set(listing.instances) == {it.name for it in orders} for listing in listings)


def test_a_wait_ends_at_its_deadline(tmp_path, order):
    with emulator(tmp_path, processes=False, provisioning=30.0) as slow:
        cloud = Cloud.at("drawings", slow.url)
        operation = cloud.rent(SPEC, order())
        started = datetime.now()
        assert not cloud.wait(operation, 0.5).done
        assert timedelta(seconds=0.4) < datetime.now() - started < timedelta(seconds=5)
        assert not cloud.outcome(operation).done
        assert not cloud.wait(operation, 0.0).done
        cloud.close()


def test_an_operation_that_nobody_knows_is_told(cloud):
    with pytest.raises(NotThere):
        cloud.outcome(Operation("operation-1-2-3", ZONE))
    with pytest.raises(NotThere):
        cloud.wait(Operation("operation-1-2-3", ZONE), SOON)


@pytest.mark.parametrize(
    ("machine_type", "gpus"),
    [
        ("g2-standard-4", Gpu("nvidia-l4")),
        ("g2-standard-24", Gpu("nvidia-l4", 2)),
        ("a2-highgpu-1g", Gpu("nvidia-tesla-a100")),
        ("n1-standard-4", None),
    ],
)
def test_a_machine_type_tells_its_gpus(cloud, machine_type, gpus):
    assert cloud.gpus_of(machine_type, ZONE) == gpus


def test_what_a_type_brings_is_asked_for_once(cloud, trouble):
    cloud.gpus_of("g2-standard-4", ZONE)
    trouble.unavailable()
    assert cloud.gpus_of("g2-standard-4", ZONE) == Gpu("nvidia-l4")


@pytest.mark.parametrize(
    ("machine_type", "gpu", "there", "not_there"),
    [
        ("n1-standard-4", Gpu("nvidia-tesla-t4"), "us-central1-f", "us-west1-c"),
        ("n1-standard-4", None, "us-west1-c", "moon1-a"),
        ("g2-standard-4", None, "us-west1-c", "us-central1-f"),
        ("g9-standard-4", None, None, "us-central1-a"),
    ],
)
def test_zones_tell_what_they_offer(cloud, machine_type, gpu, there, not_there):
    zones = cloud.zones_with(replace(SPEC, machine_type=machine_type, gpu=gpu))
    assert there is None or there in zones
    assert not_there not in zones
    assert list(zones) == sorted(set(zones))


def test_a_console_is_read_to_its_end(tmp_path, order):
    script = "#!/bin/bash\nfor i in {1..2000}; do echo line $i; done\necho the end\n"
    with emulator(tmp_path) as real:
        cloud = Cloud.at("drawings", real.url)
        wanted = order()
        cloud.rent(replace(SPEC, startup_script=script), wanted)
        eventually("it has printed", lambda: "the end" in cloud.console(wanted.name, ZONE), SOON)
        console = cloud.console(wanted.name, ZONE)
        assert len(console) <= 4096
        assert "line 2000" in console
        assert cloud.console("nobody", ZONE) == ""
        cloud.close()


def test_a_machine_that_does_not_print_has_an_empty_console(cloud, order):
    wanted = order()
    cloud.rent(SPEC, wanted)
    assert cloud.console(wanted.name, ZONE) == ""
