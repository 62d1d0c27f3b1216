"""What google-cloud-compute asks for and gets, over HTTP."""

import time
from uuid import uuid4

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import compute_v1

from infra.emulator.remote import Remote
from infra.emulator.world import Times
from tests.contract.emulator.renter import IMAGE, ZONE, Renter, machine
from tests.waiting import eventually

DONE = compute_v1.Operation.Status.DONE


def test_a_machine_is_rented_seen_and_given_back(renter: Renter):
    operation = renter.insert("vm-1", labels={"pool": "a"}, metadata={"key": "value"})
    assert operation.operation_type == "insert"
    assert operation.target_link.endswith(f"/zones/{ZONE}/instances/vm-1")
    assert renter.get("vm-1").status in ("PROVISIONING", "STAGING")
    done = renter.wait(operation)
    assert (done.status, done.progress, done.error.errors) == (DONE, 100, [])
    it = renter.get("vm-1")
    assert it.status == "RUNNING"
    assert it.id == done.target_id
    assert dict(it.labels) == {"pool": "a"}
    assert [(item.key, item.value) for item in it.metadata.items] == [("key", "value")]
    assert it.scheduling.provisioning_model == "SPOT"
    assert it.scheduling.preemptible
    gone = renter.wait(renter.delete("vm-1"))
    assert gone.operation_type == "delete"
    with pytest.raises(NotFound):
        renter.get("vm-1")


def test_a_machine_walks_through_its_states(at):
    renter = at(Times(provisioning=0.2, staging=0.2, stopping=0.2))
    seen: list[str] = []

    def look() -> bool:
        status = {it.name: it.status for it in renter.instances.list(project=renter.project, zone=ZONE)}.get(
            "vm-1", "gone"
        )
        seen.extend([status] if seen[-1:] != [status] else [])
        return status in ("RUNNING", "gone")

    renter.insert("vm-1")
    eventually("it runs", look, 10)
    renter.delete("vm-1")
    eventually("it is gone", lambda: look() and seen[-1] == "gone", 10)
    assert seen == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "gone"]


def test_asking_twice_with_one_request_id_makes_one_machine(renter: Renter):
    request_id = str(uuid4())
    first = renter.insert("vm-1", request_id=request_id)
    assert renter.insert("vm-1", request_id=request_id).name == first.name
    with pytest.raises(Conflict) as caught:
        renter.insert("vm-1", request_id=str(uuid4()))
    assert caught.value.errors[0]["reason"] == "alreadyExists"
    assert renter.names() == ["vm-1"]


def test_machines_are_found_by_label_in_all_zones(renter: Renter):
    for number, zone in enumerate(("us-central1-a", "us-central1-b", "us-east4-a")):
        renter.insert(f"vm-{number}", zone, labels={"spotlift-pool": "a" if number < 2 else "b"})
    assert renter.names("labels.spotlift-pool=a") == ["vm-0", "vm-1"]
    assert renter.names("(labels.spotlift-pool=b) (status!=STOPPING)") == ["vm-2"]
    assert renter.names("labels.spotlift-pool:* AND name=vm-1") == ["vm-1"]
    assert renter.names("labels.other:*") == []


def test_a_filter_that_makes_no_sense_is_refused(renter: Renter):
    with pytest.raises(BadRequest) as caught:
        renter.names("labels.spotlift-pool==")
    assert caught.value.errors[0]["reason"] == "invalid"


def test_listings_come_in_pages(renter: Renter):
    for number in range(7):
        renter.insert(f"vm-{number}", ("us-central1-a", "us-central1-b")[number % 2])
    request = compute_v1.AggregatedListInstancesRequest(project=renter.project, max_results=3)
    pages = list(renter.instances.aggregated_list(request).pages)
    found = [[it.name for scope in page.items.values() for it in scope.instances] for page in pages]
    assert [len(page) for page in found] == [3, 3, 1]
    assert sorted(name for page in found for name in page) == [f"vm-{number}" for number in range(7)]
    assert pages[0].items["zones/us-east4-a"].warning.code == "NO_RESULTS_ON_PAGE"


def test_waiting_ends_as_soon_as_it_is_done(at):
    renter = at(Times(provisioning=0.4, staging=0.0))
    renter.instances  # noqa: B018 - made before the clock runs
    began = time.monotonic()
    assert renter.wait(renter.insert("vm-1")).status == DONE
    assert 0.35 < time.monotonic() - began < 2.0


def test_operations_tell_why_a_machine_went(renter: Renter):
    renter.rent("vm-1")
    renter.rent("vm-2")
    renter.instances.simulate_maintenance_event_unary(project=renter.project, zone=ZONE, instance="vm-1")
    Remote(renter.url).preempt("vm-1", notice=None)
    renter.wait(renter.delete("vm-2"))
    expression = 'targetLink eq ".*/instances/vm-1"'
    request = compute_v1.ListZoneOperationsRequest(project=renter.project, zone=ZONE, filter=expression)
    types = [it.operation_type for it in renter.zone_operations.list(request)]
    assert types == ["insert", "simulateMaintenanceEvent", "compute.instances.preempted"]
    request.filter = f"({expression.replace('vm-1', 'vm-2')}) (operationType ne insert)"
    assert [it.operation_type for it in renter.zone_operations.list(request)] == ["delete"]
    request.filter = 'operationType="compute.instances.preempted"'
    (preempted,) = renter.zone_operations.list(request)
    assert preempted.user == "system"


def test_a_stopped_machine_stays_and_can_be_deleted(renter: Renter):
    renter.rent("vm-1", spot=False)
    renter.wait(renter.instances.stop_unary(project=renter.project, zone=ZONE, instance="vm-1"))
    assert renter.get("vm-1").status == "TERMINATED"
    renter.wait(renter.delete("vm-1"))
    assert renter.names() == []


def test_labels_change_only_for_who_knows_the_last_ones(renter: Renter):
    it = renter.rent("vm-1", labels={"a": "b"})

    def change(fingerprint: str) -> None:
        body = compute_v1.InstancesSetLabelsRequest(labels={"a": "c"}, label_fingerprint=fingerprint)
        renter.instances.set_labels_unary(
            project=renter.project, zone=ZONE, instance="vm-1", instances_set_labels_request_resource=body
        )

    with pytest.raises(Exception, match="fingerprint"):
        change("AAAAAAAAAAA=")
    change(it.label_fingerprint)
    assert dict(renter.get("vm-1").labels) == {"a": "c"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"machine_type": "n9-standard-1"}, "resource.machineType.* 'n9-standard-1' does not exist in zone"),
        ({"image": "projects/debian-cloud/global/images/no-such"}, "image resource cannot be found"),
        ({"image": "family/debian-12"}, "malformed"),
        ({"on_host_maintenance": "MIGRATE"}, "live migration"),
        ({"labels": {"Upper": "case"}}, "resource.labels"),
    ],
)
def test_what_cannot_be_is_refused_at_once(renter: Renter, wrong: dict, said: str):
    with pytest.raises(BadRequest, match=said):
        renter.insert("vm-1", **wrong)
    assert renter.names() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image": "projects/debian-cloud/global/images/family/debian-99"}, "global/images/family/debian-99"),
        ({"machine_type": "n1-standard-4", "gpu": "nvidia-nothing"}, f"{ZONE}/acceleratorTypes/nvidia-nothing"),
    ],
)
def test_an_image_family_or_a_gpu_that_does_not_exist_is_not_found(renter: Renter, wrong: dict, said: str):
    with pytest.raises(NotFound, match=f"{said}' was not found"):
        renter.insert("vm-1", **wrong)
    assert renter.names() == []


def test_a_zone_that_does_not_exist_is_told(renter: Renter):
    with pytest.raises(BadRequest, match="Unknown zone"):
        renter.insert("vm-1", "mars-north1-a")


def test_the_catalogue_knows_which_zone_has_which_gpu(renter: Renter):
    kind = renter.machine_types.get(project=renter.project, zone=ZONE, machine_type="a2-highgpu-1g")
    assert [(it.guest_accelerator_type, it.guest_accelerator_count) for it in kind.accelerators] == [
        ("nvidia-tesla-a100", 1)
    ]
    request = compute_v1.AggregatedListMachineTypesRequest(project=renter.project, filter="name=g2-standard-4")
    zones = {scope for scope, it in renter.machine_types.aggregated_list(request) if it.machine_types}
    assert "zones/us-central1-a" in zones
    assert "zones/us-east4-b" not in zones
    gpus = renter.accelerator_types.list(project=renter.project, zone="us-east4-b")
    assert [it.name for it in gpus] == ["nvidia-tesla-t4"]
    listed = {
        scope for scope, it in renter.accelerator_types.aggregated_list(project=renter.project) if it.accelerator_types
    }
    assert len(listed) == len(list(renter.zones.list(project=renter.project))) == 24
    assert renter.zones.get(project=renter.project, zone=ZONE).region.endswith("/regions/us-central1")


def test_images_are_found_by_name_and_family(renter: Renter):
    newest = renter.images.get_from_family(project="debian-cloud", family="debian-12")
    assert renter.images.get(project="debian-cloud", image=newest.name).family == "debian-12"
    with pytest.raises(NotFound):
        renter.images.get(project="debian-cloud", image="nothing")


def test_quotas_count_what_runs(renter: Renter):
    renter.rent("vm-1")
    renter.rent("vm-2", machine_type="n1-standard-4", gpu="nvidia-tesla-t4", spot=False)

    def usage() -> dict[str, float]:
        region = renter.regions.get(project=renter.project, region="us-central1")
        project = renter.projects.get(project=renter.project)
        return {it.metric: it.usage for it in (*region.quotas, *project.quotas)}

    used = usage()
    assert (used["PREEMPTIBLE_NVIDIA_L4_GPUS"], used["NVIDIA_T4_GPUS"], used["GPUS_ALL_REGIONS"]) == (1, 1, 2)
    assert (used["PREEMPTIBLE_CPUS"], used["CPUS"], used["INSTANCES"]) == (4, 4, 2)
    renter.wait(renter.delete("vm-1"))
    assert usage()["GPUS_ALL_REGIONS"] == 1


def test_a_machine_is_made_from_a_template(renter: Renter):
    properties = compute_v1.InstanceProperties(
        machine_type="e2-small",
        disks=[machine("x").disks[0]],
        network_interfaces=[{"network": "global/networks/default"}],
        labels={"from": "template"},
    )
    properties.disks[0].initialize_params.disk_type = "pd-balanced"
    template = compute_v1.InstanceTemplate(name="small", properties=properties)
    done = renter.instance_templates.insert_unary(project=renter.project, instance_template_resource=template)
    renter.global_operations.wait(project=renter.project, operation=done.name)
    assert renter.instance_templates.get(project=renter.project, instance_template="small").properties.labels["from"]
    request = compute_v1.InsertInstanceRequest(
        project=renter.project,
        zone=ZONE,
        source_instance_template="global/instanceTemplates/small",
        instance_resource=compute_v1.Instance(name="vm-1"),
    )
    renter.wait(renter.instances.insert_unary(request))
    assert dict(renter.get("vm-1").labels) == {"from": "template"}
    assert [it.name for it in renter.instance_templates.list(project=renter.project)] == ["small"]
    renter.instance_templates.delete_unary(project=renter.project, instance_template="small")
    assert not list(renter.instance_templates.list(project=renter.project))


def bulk(count: int, **details) -> compute_v1.BulkInsertInstanceResource:
    wanted = {"source_image": IMAGE, "disk_type": "pd-balanced"}
    properties = {
        "machine_type": "g2-standard-4",
        "disks": [{"boot": True, "auto_delete": True, "initialize_params": wanted}],
        "network_interfaces": [{"network": "global/networks/default"}],
        "scheduling": {"provisioning_model": "SPOT", "on_host_maintenance": "TERMINATE"},
    }
    return compute_v1.BulkInsertInstanceResource(
        count=count, name_pattern="vm-##", instance_properties=properties, **details
    )


def test_many_machines_are_made_with_one_request_in_a_zone(renter: Renter):
    operation = renter.instances.bulk_insert_unary(
        project=renter.project, zone=ZONE, bulk_insert_instance_resource_resource=bulk(3)
    )
    done = renter.wait(operation)
    assert done.operation_type == "bulkInsert"
    status = done.instances_bulk_insert_operation_metadata.per_location_status[f"zones/{ZONE}"]
    assert (status.target_vm_count, status.created_vm_count) == (3, 3)
    assert renter.names() == ["vm-01", "vm-02", "vm-03"]


def test_many_machines_are_made_wherever_a_region_has_some(renter: Renter):
    Remote(renter.url).stockout("us-central1-a")
    operation = renter.region_instances.bulk_insert_unary(
        project=renter.project, region="us-central1", bulk_insert_instance_resource_resource=bulk(2)
    )
    done = renter.region_operations.wait(project=renter.project, region="us-central1", operation=operation.name)
    assert not done.error.errors
    assert renter.names() == ["vm-01", "vm-02"]
    assert not list(renter.instances.list(project=renter.project, zone="us-central1-a"))


def test_too_few_machines_are_none(renter: Renter):
    Remote(renter.url).stockout(ZONE, times=1)
    operation = renter.instances.bulk_insert_unary(
        project=renter.project, zone=ZONE, bulk_insert_instance_resource_resource=bulk(3, min_count=3)
    )
    done = renter.wait(operation)
    assert done.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    eventually("the others are deleted again", lambda: renter.names() == [], 10)
