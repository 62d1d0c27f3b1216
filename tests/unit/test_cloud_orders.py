"""An order for a machine says all that the cloud must do, and what it must do when nobody looks after it any more."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from google.cloud import compute_v1

from infra.machines.orders import instance_of, region_of
from infra.machines.spec import LONGEST_NOTICE, Gpu, MachineSpec, Order
from infra.pool.market import spec_of
from infra.pool.plan import PoolPlan
from infra.settings import Settings
from workers.machine.member import CLOSE_PATIENCE, FETCH_PATIENCE, LEAVE_PATIENCE

SPEC = MachineSpec(
    machine_type="n1-standard-4",
    gpu=Gpu("nvidia-tesla-t4", 2),
    image="projects/p/global/images/family/f",
    startup_script="#!/bin/bash\n",
    max_run=timedelta(hours=6),
)
ORDER = Order("one", "us-central1-a", "uuid", {"spotlift-pool": "spot-gpu"}, {"spotlift-model": "fast"})


def ordered(spec: MachineSpec = SPEC) -> compute_v1.Instance:
    """As the official client understands it: a word that it does not know is an error here."""
    return compute_v1.Instance(instance_of(spec, ORDER, "drawings"))


def test_the_cloud_ends_it_whatever_happens_to_us():
    scheduling = ordered().scheduling
    assert scheduling.provisioning_model == "SPOT"
    assert scheduling.instance_termination_action == "DELETE"
    assert scheduling.max_run_duration.seconds == 6 * 3600
    assert scheduling.automatic_restart is False
    assert "automatic_restart" in scheduling, "it must be sent: the API's default is true"
    assert scheduling.on_host_maintenance == "TERMINATE"
    assert ordered().disks[0].auto_delete is True


def test_a_machine_on_demand_ends_as_well():
    scheduling = ordered(replace(SPEC, spot=False, notice=timedelta(seconds=120))).scheduling
    assert scheduling.provisioning_model == "STANDARD"
    assert scheduling.instance_termination_action == "DELETE"
    assert scheduling.max_run_duration.seconds == 6 * 3600
    assert "preemption_notice_duration" not in scheduling


def test_a_notice_is_asked_for_only_if_wished():
    assert "preemption_notice_duration" not in ordered().scheduling
    wished = ordered(replace(SPEC, notice=timedelta(seconds=120)))
    assert wished.scheduling.preemption_notice_duration.seconds == 120


@pytest.mark.parametrize(("spot", "seconds"), [(True, 120), (False, 0)])
def test_a_spot_machine_of_the_pool_hears_in_time_that_it_is_taken_away(tmp_path: Path, spot: bool, seconds: int):
    settings = Settings(state=tmp_path)
    plan = PoolPlan.of(settings).model_copy(update={"spot": spot})
    assert ordered(spec_of(settings, plan)).scheduling.preemption_notice_duration.seconds == seconds
    assert LONGEST_NOTICE.total_seconds() > LEAVE_PATIENCE + FETCH_PATIENCE + CLOSE_PATIENCE, "and has gone by then"


def test_gpus_are_attached_unless_the_type_brings_them():
    accelerator = ordered().guest_accelerators[0]
    assert accelerator.accelerator_type == "projects/drawings/zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4"
    assert accelerator.accelerator_count == 2
    assert not ordered(replace(SPEC, gpu=None)).guest_accelerators


def test_it_boots_from_the_image_and_runs_the_script():
    disk = ordered().disks[0]
    assert disk.boot is True
    assert disk.initialize_params.source_image == "projects/p/global/images/family/f"
    assert disk.initialize_params.disk_type == "zones/us-central1-a/diskTypes/pd-balanced"
    items = {item.key: item.value for item in ordered().metadata.items}
    assert items == {"startup-script": "#!/bin/bash\n", "spotlift-model": "fast"}
    assert dict(ordered().labels) == {"spotlift-pool": "spot-gpu"}


@pytest.mark.parametrize("external", [False, True])
def test_it_has_an_external_address_only_if_wished(external: bool):
    interface = ordered(replace(SPEC, external_address=external)).network_interfaces[0]
    assert [config.type_ for config in interface.access_configs] == ["ONE_TO_ONE_NAT"] * external


@pytest.mark.parametrize(
    ("subnetwork", "network", "sent"),
    [
        (None, "global/networks/default", ""),
        ("ours", "", "regions/us-central1/subnetworks/ours"),
        ("projects/h/regions/us-east4/subnetworks/ours", "", "projects/h/regions/us-east4/subnetworks/ours"),
    ],
)
def test_a_subnetwork_stands_in_for_the_network(subnetwork: str | None, network: str, sent: str):
    interface = ordered(replace(SPEC, subnetwork=subnetwork)).network_interfaces[0]
    assert (interface.network, interface.subnetwork) == (network, sent)


def test_it_acts_as_nobody_unless_told():
    assert not ordered().service_accounts
    account = ordered(replace(SPEC, service_account="worker@drawings.iam")).service_accounts[0]
    assert account.email == "worker@drawings.iam"
    assert list(account.scopes) == ["https://www.googleapis.com/auth/cloud-platform"]


def test_tags_are_for_the_firewall():
    assert "tags" not in ordered()
    assert list(ordered(replace(SPEC, tags=("gpu",))).tags.items) == ["gpu"]


def test_a_zone_lies_in_its_region():
    assert region_of("northamerica-northeast1-b") == "northamerica-northeast1"
