"""Puts what the ledger remembers into the values that policy and bill work with."""

from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlsplit

from infra.machines.spec import MachineSpec
from infra.pool.bill import Rented
from infra.pool.chunks import FIRST_GUESS
from infra.pool.policy import Work
from infra.pool.zones import Past
from infra.records import Ledger
from infra.records.tables import Machine
from infra.states import NEVER_CAME


def work_of(ledger: Ledger) -> Work:
    """What the open batches need, in seconds of one GPU at the measured speed of each one's model."""
    waiting = ledger.waiting_work()
    kinds = {(work.model, work.scale) for work in waiting if work.pixels}
    speeds = {(model, scale): ledger.speed(model, scale) or FIRST_GUESS for model, scale in kinds}
    return Work(
        seconds=sum(work.pixels / speeds[work.model, work.scale] for work in waiting if work.pixels),
        chunks=sum(work.chunks for work in waiting),
        unread=sum(work.unread for work in waiting),
        asked_at=max((work.asked_at for work in waiting), default=None),
        retried_at=max((work.retried_at for work in waiting if work.retried_at), default=None),
    )


def recipe_of(spec: MachineSpec, metadata: Mapping[str, str]) -> str:
    """What decides whether a machine can be had and comes up, in a few digits.

    What went wrong with machines of another recipe says nothing about those of this one.
    """
    controller = urlsplit(metadata.get("spotlift-scheduler", "")).hostname
    return sha256(repr((spec, metadata.get("spotlift-image"), controller)).encode()).hexdigest()[:12]


def as_past(machine: Machine) -> Past:
    """A machine as the memory of zones wants it."""
    return Past(
        zone=machine.zone,
        requested_at=machine.requested_at,
        started_at=machine.started_at,
        checked_in_at=machine.checked_in_at,
        ended_at=machine.ended_at or (machine.stopping_at if machine.end is not None else None),
        end=machine.end,
        reason=machine.reason,
        everywhere=bool(machine.details.get("everywhere")),
        available=tuple(machine.details.get("available", ())),
    )


def as_rented(machine: Machine, worked: float = 0.0, lost: float = 0.0) -> Rented:
    """A machine as the bill wants it. One that never came costs nothing."""
    came = machine.end not in NEVER_CAME
    return Rented(
        name=machine.name,
        zone=machine.zone,
        machine_type=machine.machine_type,
        spot=machine.spot,
        price_per_hour=machine.price_per_hour if came else 0.0,
        on_demand_per_hour=machine.on_demand_per_hour if came else 0.0,
        requested_at=machine.requested_at,
        started_at=machine.started_at,
        checked_in_at=machine.checked_in_at,
        ended_at=machine.ended_at,
        end=machine.end.value if machine.end else None,
        worked_seconds=worked,
        lost_seconds=lost,
    )
