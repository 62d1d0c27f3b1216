"""The things of the emulated cloud that change: instances and the operations that change them, and how they look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

from infra.emulator import catalogue
from infra.emulator.complaints import Failure, Json
from infra.emulator.resources import Resource, fingerprint, last, link, region_of, stamp

SYSTEM: Final = "system"
USER: Final = "somebody@example.com"
PENDING_FOR: Final = 0.05
"""Seconds that an operation waits before it runs."""


class Status(StrEnum):
    """States of an instance, as Compute Engine calls them."""

    PROVISIONING = "PROVISIONING"  # looking for a host
    STAGING = "STAGING"  # there is one
    RUNNING = "RUNNING"  # booting, or booted
    STOPPING = "STOPPING"  # its guest is told to end
    TERMINATED = "TERMINATED"  # ended; it can still be looked at
    GONE = "GONE"  # deleted: nobody sees this state


class Turn(StrEnum):
    """What happens to an instance that somebody who runs its guest must know."""

    BOOT = "BOOT"  # its system starts, and runs the startup script
    NOTICE = "NOTICE"  # it will be preempted
    SHUTDOWN = "SHUTDOWN"  # its guest is to end, and has a little time for it
    POWER_OFF = "POWER_OFF"  # whatever is left of its guest ends now
    GONE = "GONE"  # deleted


@dataclass(eq=False)
class Operation:
    """What the cloud is doing, or has done."""

    id: int
    name: str
    project: str
    scope: str
    """`zones/Z`, `regions/R` or `global`."""
    type: str
    target: str
    """Path of what it changes, below the project."""
    target_id: int
    inserted: float
    user: str = USER
    ended: float | None = None
    failure: Failure | None = None
    group: str | None = None
    bulk: dict[str, dict[str, int]] | None = None
    """Of an insertion in bulk: what became of the machines of each zone."""

    @property
    def done(self) -> bool:
        return self.ended is not None

    def path(self) -> str:
        return f"projects/{self.project}/{self.scope}/operations/{self.name}"

    def json(self, now: float) -> Json:
        pending = not self.done and now < self.inserted + PENDING_FOR
        status = "DONE" if self.done else "PENDING" if pending else "RUNNING"
        answer: Json = {
            "kind": "compute#operation",
            "id": str(self.id),
            "name": self.name,
            "operationType": self.type,
            "targetLink": link(self.project, self.target),
            "targetId": str(self.target_id),
            "status": status,
            "user": self.user,
            "progress": {"PENDING": 0, "RUNNING": 50, "DONE": 100}[status],
            "insertTime": stamp(self.inserted),
            "selfLink": link(self.project, self.scope, "operations", self.name),
        }
        kind, _, place = self.scope.partition("/")
        if place:
            answer[kind.removesuffix("s")] = link(self.project, self.scope)
        if not pending:
            answer["startTime"] = stamp(self.inserted + (0 if self.done else PENDING_FOR))
        if self.ended is not None:
            answer["endTime"] = stamp(max(self.ended, self.inserted))
        if self.failure is not None:
            answer["error"] = self.failure.error()
            answer["httpErrorStatusCode"] = self.failure.http
            answer["httpErrorMessage"] = self.failure.http_message
        if self.group is not None:
            answer["operationGroupId"] = self.group
        if self.bulk is not None:
            answer["instancesBulkInsertOperationMetadata"] = {"perLocationStatus": self._bulk_status()}
        return answer

    def _bulk_status(self) -> Json:
        status = "DONE" if self.done else "CREATING"
        return {zone: {"status": status, **counts} for zone, counts in (self.bulk or {}).items()}


@dataclass(eq=False)
class Instance:
    """A virtual machine. `asked` is what the request for it said, with defaults filled in."""

    id: int
    project: str
    zone: str
    name: str
    asked: Json = field(repr=False)
    address: str
    created: float
    insertion: Operation
    status: Status = Status.PROVISIONING
    started: float | None = None
    stopped: float | None = None
    booted: bool = False
    """Whether its startup script was begun."""
    preempted: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    never_boots: bool = False
    extra_boot: float = 0.0
    until: Status = Status.TERMINATED
    """What a stopping one becomes."""
    endings: list[Operation] = field(default_factory=list)
    """Operations that are done when it has stopped."""
    walk: int = 0
    """Counts changes of course, so that what was planned before one does not happen after it."""
    guest_ended: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        return self.project, self.zone, self.name

    @property
    def path(self) -> str:
        return f"zones/{self.zone}/instances/{self.name}"

    @property
    def spot(self) -> bool:
        return bool(self.asked["scheduling"].get("provisioningModel") == "SPOT")

    @property
    def machine_type(self) -> catalogue.MachineType:
        return catalogue.MACHINE_TYPES[last(self.asked["machineType"])]

    @cached_property
    def gpus(self) -> tuple[str, int]:
        """Kind and number of its GPUs."""
        for attached in self.asked.get("guestAccelerators", []):
            return last(attached["acceleratorType"]), int(attached["acceleratorCount"])
        return self.machine_type.gpu, self.machine_type.gpus

    @property
    def deletes_itself(self) -> bool:
        """Whether it is deleted, and not only stopped, when the cloud ends it."""
        return bool(self.asked["scheduling"].get("instanceTerminationAction") == "DELETE")

    @property
    def metadata(self) -> Mapping[str, str]:
        return {it["key"]: it.get("value", "") for it in self.asked.get("metadata", {}).get("items", [])}

    def seconds(self, duration: str) -> float | None:
        """A duration among its scheduling options."""
        given = self.asked["scheduling"].get(duration)
        return None if given is None else int(given.get("seconds", 0)) + int(given.get("nanos", 0)) / 1e9

    def usage(self) -> dict[str, float]:
        """How much of which regional quota it uses."""
        gpu, count = self.gpus
        prefix = "PREEMPTIBLE_" if self.spot else ""
        used: dict[str, float] = {f"{prefix}CPUS": self.machine_type.cpus, "INSTANCES": 1}
        if gpu:
            used[prefix + catalogue.GPU_TYPES[gpu].quota] = count
        return used

    def changed(self) -> None:
        """Forget how it looked."""
        self.__dict__.pop("resource", None)

    @cached_property
    def resource(self) -> Resource:
        """How it looks; written down once and forgotten when it changes."""
        answer: Json = {
            "kind": "compute#instance",
            "id": str(self.id),
            "creationTimestamp": stamp(self.created),
            "name": self.name,
            "status": self.status.value,
            "zone": link(self.project, "zones", self.zone),
            "selfLink": link(self.project, self.path),
            "cpuPlatform": "Unknown CPU Platform" if self.started is None else "Intel Broadwell",
            "startRestricted": False,
            "deletionProtection": False,
            "fingerprint": fingerprint([self.id, self.status]),
            **self.asked,
            "labelFingerprint": fingerprint(self.labels),
        }
        if self.labels:
            answer["labels"] = self.labels
        if self.started is not None:
            answer["lastStartTimestamp"] = stamp(self.started)
        if self.stopped is not None:
            answer["lastStopTimestamp"] = stamp(self.stopped)
        return Resource(answer)


def completed(project: str, zone: str, name: str, body: Json, address: str) -> Json:
    """What a request asks for, with what the cloud adds to it: the part of an instance that never changes."""
    region = region_of(zone)
    machine_type = last(body["machineType"])
    asked: Json = {
        "machineType": link(project, "zones", zone, "machineTypes", machine_type),
        "canIpForward": bool(body.get("canIpForward", False)),
        "tags": {**body.get("tags", {}), "fingerprint": fingerprint(body.get("tags", {}).get("items", []))},
        "scheduling": _scheduling(body.get("scheduling", {})),
        "shieldedInstanceConfig": {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": True},
    }
    for plain in ("description", "hostname", "minCpuPlatform", "resourcePolicies"):
        if plain in body:
            asked[plain] = body[plain]
    items = [{"key": it["key"], "value": it.get("value", "")} for it in body.get("metadata", {}).get("items", [])]
    asked["metadata"] = {"kind": "compute#metadata", "fingerprint": fingerprint(items)}
    if items:
        asked["metadata"]["items"] = items
    gpus = [
        {
            "acceleratorType": link(project, "zones", zone, "acceleratorTypes", last(it["acceleratorType"])),
            "acceleratorCount": int(it.get("acceleratorCount", 1)),
        }
        for it in body.get("guestAccelerators", [])
    ]
    if gpus:
        asked["guestAccelerators"] = gpus
    accounts = [
        {"email": _account(project, it.get("email", "default")), "scopes": list(it.get("scopes", []))}
        for it in body.get("serviceAccounts", [])
    ]
    if accounts:
        asked["serviceAccounts"] = accounts
    asked["disks"] = [_disk(project, zone, name, index, disk) for index, disk in enumerate(body.get("disks", []))]
    asked["networkInterfaces"] = [_interface(project, region, index, it, address) for index, it in enumerate(
        body.get("networkInterfaces") or [{}]
    )]  # fmt: skip
    return asked


def _account(project: str, email: str) -> str:
    return default_account(project) if email == "default" else email


def default_account(project: str) -> str:
    from infra.emulator.resources import number_of

    return f"{number_of(project)}-compute@developer.gserviceaccount.com"


def _scheduling(given: Json) -> Json:
    spot = given.get("provisioningModel") == "SPOT" or given.get("preemptible", False)
    scheduling: Json = {
        "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
        "automaticRestart": not spot,
        "preemptible": bool(spot),
        **given,
    }
    scheduling["provisioningModel"] = "SPOT" if spot else given.get("provisioningModel", "STANDARD")
    scheduling["preemptible"] = bool(spot)
    if spot:
        scheduling.setdefault("instanceTerminationAction", "STOP")
    for duration in ("maxRunDuration", "preemptionNoticeDuration"):
        if duration in scheduling:
            scheduling[duration] = {**scheduling[duration], "seconds": str(scheduling[duration].get("seconds", "0"))}
    return scheduling


def _disk(project: str, zone: str, name: str, index: int, disk: Json) -> Json:
    wanted = disk.get("initializeParams", {})
    disk_name = wanted.get("diskName") or (name if index == 0 else f"{name}-{index}")
    image = catalogue.image_at(wanted.get("sourceImage", ""))
    size = wanted.get("diskSizeGb") or (image.disk_gib if image else 10)
    source = disk.get("source") or link(project, "zones", zone, "disks", disk_name)
    return {
        "kind": "compute#attachedDisk",
        "type": disk.get("type", "PERSISTENT"),
        "mode": disk.get("mode", "READ_WRITE"),
        "source": source,
        "deviceName": disk.get("deviceName") or f"persistent-disk-{index}",
        "index": index,
        "boot": bool(disk.get("boot", False)),
        "autoDelete": bool(disk.get("autoDelete", False)),
        "interface": "SCSI",
        "diskSizeGb": str(size),
        "architecture": "X86_64",
    }


def _interface(project: str, region: str, index: int, given: Json, address: str) -> Json:
    interface: Json = {
        "kind": "compute#networkInterface",
        "network": link(project, "global", "networks", last(given.get("network", "default"))),
        "subnetwork": link(project, "regions", region, "subnetworks", last(given.get("subnetwork", "default"))),
        "networkIP": address,
        "name": f"nic{index}",
        "fingerprint": fingerprint([address, index]),
        "stackType": "IPV4_ONLY",
    }
    outside = [
        {
            "kind": "compute#accessConfig",
            "type": it.get("type", "ONE_TO_ONE_NAT"),
            "name": it.get("name", "External NAT"),
            "natIP": address,
            "networkTier": "PREMIUM",
        }
        for it in given.get("accessConfigs", [])
    ]
    return interface | ({"accessConfigs": outside} if outside else {})
