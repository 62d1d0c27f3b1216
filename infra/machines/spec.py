"""What a rented machine is: the values that go into a request, in the words of Compute Engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from infra.machines.errors import CloudError

POOL_LABEL: Final = "spotlift-pool"
"""Every machine of ours carries it, with the name of its pool."""
LONGEST_NOTICE: Final = timedelta(seconds=120)
"""Of a preemption. Compute Engine offers this one or none, and spot machines only; none: a machine is shut down while
it hears of it. Machines leave within that time (`LEAVE_PATIENCE` in `workers.machine.member`)."""


@dataclass(frozen=True)
class Gpu:
    """GPUs of one kind: `nvidia-tesla-t4`, `nvidia-l4`, …"""

    type: str
    count: int = 1


@dataclass(frozen=True)
class MachineSpec:
    """What all machines of one life of the pool have in common."""

    machine_type: str
    """`n1-standard-4`, `g2-standard-4`, …"""
    gpu: Gpu | None
    """GPUs to attach; None when the machine type brings its own, or has none."""
    image: str
    """Boot image: `projects/P/global/images/family/F`, or of one image."""
    startup_script: str
    max_run: timedelta
    """After this time Compute Engine deletes the machine by itself, whatever happened to us."""
    spot: bool = True
    notice: timedelta | None = None
    """How long before a spot machine is taken away its metadata server says so; None: not before."""
    disk_gib: int = 50
    disk_type: str = "pd-balanced"
    """The API's own default, pd-standard, cannot be attached to newer machine types such as g2."""
    network: str = "global/networks/default"
    subnetwork: str | None = None
    """A path, or only a name, which is then looked for in the region of each zone. It stands in for the network."""
    external_address: bool = False
    service_account: str | None = None
    """E-mail of the account that the machine acts as; None: it acts as nobody."""
    tags: tuple[str, ...] = ()
    """Network tags, for firewall rules."""


@dataclass(frozen=True)
class Order:
    """One machine of that spec."""

    name: str
    zone: str
    request_id: str
    """A UUID of this machine's own: asking twice with the same one makes one machine."""
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """What Compute Engine is doing for us; its outcome is asked for by zone and name."""

    name: str
    zone: str


@dataclass(frozen=True)
class Outcome:
    """What became of an operation so far. A failure is a value here: asking about it went well."""

    done: bool
    error: CloudError | None = None
    """Why it failed, once it is done."""


class Departure(StrEnum):
    """Why the cloud says that a machine went away."""

    PREEMPTED = "PREEMPTED"  # the cloud took it back
    DELETED = "DELETED"  # somebody asked for it: we, or a person
    STOPPED_ITSELF = "STOPPED_ITSELF"  # the system on it was shut down from inside
    TIME_LIMIT = "TIME_LIMIT"  # it had run for as long as its order allows
    UNKNOWN = "UNKNOWN"  # the cloud says nothing, or nothing that we know


@dataclass(frozen=True)
class Instance:
    """A machine as the cloud lists it."""

    name: str
    zone: str
    status: str
    """PROVISIONING, STAGING, RUNNING, STOPPING, TERMINATED, …"""
    labels: Mapping[str, str]
    created: str
    """RFC 3339."""


@dataclass(frozen=True)
class Listing:
    """What the cloud says there is. A zone that did not answer says nothing about its machines."""

    instances: Mapping[str, Instance]
    """By name."""
    silent_zones: frozenset[str] = frozenset()
