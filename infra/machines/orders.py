"""An order for a machine in the words of the API. Pure: a dictionary as the messages of the official client take it."""

from typing import Any

from infra.machines.spec import MachineSpec, Order

_ALL_THAT_ITS_ACCOUNT_MAY = "https://www.googleapis.com/auth/cloud-platform"


def region_of(zone: str) -> str:
    """`us-central1-a` lies in `us-central1`."""
    return zone.rpartition("-")[0]


def instance_of(spec: MachineSpec, order: Order, project: str) -> dict[str, Any]:
    """The instance that `order` asks for, as compute_v1.Instance understands it."""
    zone = f"projects/{project}/zones/{order.zone}"
    instance: dict[str, Any] = {
        "name": order.name,
        "machine_type": f"zones/{order.zone}/machineTypes/{spec.machine_type}",
        "disks": [
            {
                "boot": True,
                "auto_delete": True,
                "initialize_params": {
                    "source_image": spec.image,
                    "disk_size_gb": spec.disk_gib,
                    "disk_type": f"zones/{order.zone}/diskTypes/{spec.disk_type}",
                },
            }
        ],
        "scheduling": _scheduling(spec),
        "network_interfaces": [_network(spec, order.zone)],
        "labels": dict(order.labels),
        "metadata": {
            "items": [
                {"key": key, "value": value}
                for key, value in {"startup-script": spec.startup_script, **order.metadata}.items()
            ]
        },
    }
    if spec.gpu is not None:
        instance["guest_accelerators"] = [
            {"accelerator_type": f"{zone}/acceleratorTypes/{spec.gpu.type}", "accelerator_count": spec.gpu.count}
        ]
    if spec.service_account is not None:
        instance["service_accounts"] = [{"email": spec.service_account, "scopes": [_ALL_THAT_ITS_ACCOUNT_MAY]}]
    if spec.tags:
        instance["tags"] = {"items": list(spec.tags)}
    return instance


def _scheduling(spec: MachineSpec) -> dict[str, Any]:
    """A machine that nobody restarts and that the cloud deletes in the end, whatever becomes of us."""
    scheduling: dict[str, Any] = {
        "provisioning_model": "SPOT" if spec.spot else "STANDARD",
        "instance_termination_action": "DELETE",
        "automatic_restart": False,
        "on_host_maintenance": "TERMINATE",  # machines with GPUs cannot be moved while they run
        "max_run_duration": {"seconds": int(spec.max_run.total_seconds())},
    }
    if spec.spot and spec.notice is not None:
        scheduling["preemption_notice_duration"] = {"seconds": int(spec.notice.total_seconds())}
    return scheduling


def _network(spec: MachineSpec, zone: str) -> dict[str, Any]:
    interface: dict[str, Any] = {}
    if spec.subnetwork is None:
        interface["network"] = spec.network
    elif "/" in spec.subnetwork:
        interface["subnetwork"] = spec.subnetwork
    else:
        interface["subnetwork"] = f"regions/{region_of(zone)}/subnetworks/{spec.subnetwork}"
    if spec.external_address:
        interface["access_configs"] = [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]
    return interface
