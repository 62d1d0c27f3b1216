"""The things of the emulated cloud that change: instances and the operations that change them, and how they look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

from infra.emulator import catalogue
from infra.emulator.complaints import Failure, Json
from infra.emulator.resources import Resource, fingerprint, last, link, stamp

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
