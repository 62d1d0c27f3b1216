"""Somebody who rents machines through the official client."""

from dataclasses import dataclass, field
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

PROJECT = "spotlift-test"
ZONE = "us-central1-a"
IMAGE = "projects/debian-cloud/global/images/family/debian-12"


@dataclass
class Renter:
    """Clients of the emulator at `url`."""

    url: str
    project: str = PROJECT
    _clients: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """`instances` is the InstancesClient, `zone_operations` the ZoneOperationsClient, …"""
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._clients:
            kind = "".join(it.capitalize() for it in name.split("_")) + "Client"
            self._clients[name] = getattr(compute_v1, kind)(
                credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
            )
        return self._clients[name]

    def close(self) -> None:
        for client in self._clients.values():
            client.transport.close()

    def insert(self, name: str, zone: str = ZONE, request_id: str | None = None, **details: Any) -> Any:
        """Ask for a machine; the operation."""
        request = compute_v1.InsertInstanceRequest(
            project=self.project, zone=zone, request_id=request_id, instance_resource=machine(name, zone, **details)
        )
        return self.instances.insert_unary(request)

    def wait(self, operation: Any, zone: str = ZONE) -> Any:
        return self.zone_operations.wait(project=self.project, zone=zone, operation=operation.name)

    def rent(self, name: str, zone: str = ZONE, **details: Any) -> Any:
        """A machine that runs."""
        done = self.wait(self.insert(name, zone, **details), zone)
        assert not done.error.errors, done.error
        return self.get(name, zone)

    def get(self, name: str, zone: str = ZONE) -> Any:
        return self.instances.get(project=self.project, zone=zone, instance=name)

    def delete(self, name: str, zone: str = ZONE) -> Any:
        return self.instances.delete_unary(project=self.project, zone=zone, instance=name)

    def names(self, filter: str = "") -> list[str]:
        """Of all machines in all zones."""
        request = compute_v1.AggregatedListInstancesRequest(project=self.project, filter=filter or None)
        found = self.instances.aggregated_list(request)
        return sorted(it.name for _, scope in found for it in scope.instances)


def machine(
    name: str,
    zone: str = ZONE,
    *,
    machine_type: str = "g2-standard-4",
    gpu: str = "",
    spot: bool = True,
    script: str | None = None,
    labels: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    image: str = IMAGE,
    account: str | None = None,
    **scheduling: Any,
) -> compute_v1.Instance:
    """The machine that is asked for."""
    items = {**(metadata or {}), **({"startup-script": script} if script is not None else {})}
    given = {"on_host_maintenance": "TERMINATE", "automatic_restart": False}
    if spot:
        given |= {"provisioning_model": "SPOT", "instance_termination_action": "DELETE"}
    return compute_v1.Instance(
        name=name,
        machine_type=f"zones/{zone}/machineTypes/{machine_type}",
        disks=[
            {
                "boot": True,
                "auto_delete": True,
                "initialize_params": {
                    "source_image": image,
                    "disk_size_gb": 50,
                    "disk_type": f"zones/{zone}/diskTypes/pd-balanced",
                },
            }
        ],
        scheduling={**given, **scheduling},
        network_interfaces=[{"network": "global/networks/default", "access_configs": [{"name": "External NAT"}]}],
        guest_accelerators=[{"accelerator_type": f"zones/{zone}/acceleratorTypes/{gpu}", "accelerator_count": 1}]
        if gpu
        else [],
        labels=labels or {},
        metadata={"items": [{"key": key, "value": value} for key, value in items.items()]},
        service_accounts=[{"email": account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}]
        if account
        else [],
    )
