"""What the cloud's listing means for the ledger's rows: which moved on, which are gone, which nobody knows. Pure.

Only the cloud's own listing may say that a machine is gone; a zone that did not answer says nothing. Where the
listing is not enough, `question` says what else to ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from infra.machines.errors import CloudError, QuotaReached, Refused, Stockout, Where
from infra.machines.spec import Departure, Instance, Listing, Outcome
from infra.records.pool import SENT
from infra.records.tables import Machine
from infra.states import MachineEnd, MachineState

ORDER_DEADLINE = timedelta(minutes=5)
"""So long is an order repeated that the cloud never answered."""
IN_DOUBT_FOR = timedelta(seconds=90)
"""So long may an order that was sent and never answered still bring a machine; then it was never created.

It may wait for its turn, and be repeated by the client, for most of that time: `keeper.SENT_WITHIN`, `Patience`."""
ORPHAN_GRACE = timedelta(seconds=60)
"""So long may a machine with our label be unknown to the ledger before it is given back."""

_COMING = (MachineState.REQUESTED, MachineState.PROVISIONING, MachineState.STAGING)
_LISTED = {
    "PROVISIONING": MachineState.PROVISIONING,
    "STAGING": MachineState.STAGING,
    "RUNNING": MachineState.RUNNING,
}
"""Statuses of a machine that is there. Every other one (STOPPING, TERMINATED, SUSPENDED …) is a way out of it."""
_ENDS = {
    Departure.PREEMPTED: MachineEnd.PREEMPTED,
    Departure.STOPPED_ITSELF: MachineEnd.STOPPED_ITSELF,
    Departure.TIME_LIMIT: MachineEnd.MAX_RUN_DURATION,
}
_ORDER = list(MachineState)


class Question(StrEnum):
    """What else must be known about a row."""

    OUTCOME = "OUTCOME"  # of the operation that creates it
    DEPARTURE = "DEPARTURE"  # why it is gone, or going


@dataclass(frozen=True)
class Move:
    """A row to move."""

    machine: Machine
    to: MachineState
    end: MachineEnd | None = None
    reason: str = ""
    details: Mapping[str, Any] | None = None


def question(machine: Machine, listing: Listing) -> Question | None:
    """What to ask the cloud about this machine before `move` can be told of it."""
    instance = listing.instances.get(machine.name)
    if instance is not None:
        leaves = instance.status not in _LISTED and machine.state is not MachineState.STOPPING
        return Question.DEPARTURE if leaves else None
    if machine.zone in listing.silent_zones:
        return None
    if machine.started_at is None and machine.operation is not None:
        return Question.OUTCOME
    if machine.state not in (MachineState.REQUESTED, MachineState.STOPPING):
        return Question.DEPARTURE
    return None


def move(
    machine: Machine, listing: Listing, outcome: Outcome | None, departure: Departure | None, now: datetime
) -> Move | None:
    """How the row of a machine that is not TERMINATED moves by what the cloud says; None if it stays.

    `outcome` and `departure` are the answers to its `question`, None if there was none, or no answer; a machine that
    was created, and is not listed, needs both.
    """
    instance = listing.instances.get(machine.name)
    if instance is not None:
        return _listed(machine, instance, departure)
    if machine.zone in listing.silent_zones:
        return None
    if machine.started_at is None and machine.operation is not None:
        return _not_created_yet(machine, outcome, departure)
    if machine.state is MachineState.STOPPING:
        return None if in_doubt(machine, now) else _gone(machine, machine.end or MachineEnd.LOST)
    if machine.state is MachineState.REQUESTED:
        if may_order(machine, now) or in_doubt(machine, now):
            return None  # the order is repeated; the same request id makes one machine
        return _gone(machine, MachineEnd.NEVER_CREATED, "The cloud never answered the order.")
    if departure is None:
        return None  # nobody could say why; ask again before the books are closed
    return _gone(machine, _ENDS.get(departure, MachineEnd.LOST), _said(departure))


def may_order(machine: Machine, now: datetime) -> bool:
    """Whether a machine that was asked for, and of which the cloud says nothing, may be asked for again."""
    return now - machine.requested_at < ORDER_DEADLINE


def in_doubt(machine: Machine, now: datetime) -> bool:
    """Whether an order without an answer may still bring a machine that no listing shows yet."""
    sent = machine.details.get(SENT)
    last = datetime.fromisoformat(sent) if sent else machine.requested_at
    return machine.operation is None and now - last < IN_DOUBT_FOR


def never_created(machine: Machine, error: CloudError) -> Move:
    """The row of a machine that the cloud did not create, with what the policy must know of the reason."""
    end, details = MachineEnd.NEVER_CREATED, dict[str, Any]()
    if isinstance(error, Stockout):
        end, details = MachineEnd.STOCKOUT, {"available": list(error.zones_available)}
    elif isinstance(error, QuotaReached):
        end, details = MachineEnd.QUOTA, {"everywhere": error.where is Where.EVERYWHERE}
    elif isinstance(error, Refused) and error.where is Where.EVERYWHERE:
        end = MachineEnd.REFUSED
    return Move(machine, MachineState.TERMINATED, end, str(error), details)


def unknown(listing: Listing, open_names: set[str]) -> list[Instance]:
    """Machines with our label that no open row knows."""
    return [instance for name, instance in listing.instances.items() if name not in open_names]


def departed(joined: Sequence[str], machines: Sequence[Machine], listing: Listing) -> list[str]:
    """Machines that the scheduler still believes in, although the cloud has taken them off."""
    rows = {machine.name: machine for machine in machines}
    return [
        name
        for name in joined
        if (row := rows.get(name)) is not None
        and row.zone not in listing.silent_zones
        and row.state is not MachineState.REQUESTED
        and (name not in listing.instances or listing.instances[name].status == "TERMINATED")
    ]


def _listed(machine: Machine, instance: Instance, departure: Departure | None) -> Move | None:
    state = _LISTED.get(instance.status)
    if machine.state is MachineState.STOPPING:
        return None  # on its way out, whatever the listing still says
    if state is None:
        if departure is None:
            return None
        return Move(machine, MachineState.STOPPING, _ENDS.get(departure, MachineEnd.LOST), _said(departure))
    return Move(machine, state) if _ORDER.index(state) > _ORDER.index(machine.state) else None


def _not_created_yet(machine: Machine, outcome: Outcome | None, departure: Departure | None) -> Move | None:
    """The cloud knows of the order, and does not list the machine: not yet, or not any more."""
    if outcome is None or not outcome.done:
        return None
    if outcome.error is not None:
        return never_created(machine, outcome.error)
    if machine.state is MachineState.REQUESTED:
        return Move(machine, MachineState.PROVISIONING)  # created since the listing was made: look again
    if machine.state is MachineState.STOPPING:
        return _gone(machine, machine.end or MachineEnd.LOST)
    if departure is None:
        return None
    return _gone(machine, _ENDS.get(departure, MachineEnd.LOST), _said(departure))


def _gone(machine: Machine, end: MachineEnd, reason: str = "") -> Move:
    return Move(machine, MachineState.TERMINATED, end, reason)


def _said(departure: Departure) -> str:
    return {
        Departure.PREEMPTED: "Compute Engine took it back.",
        Departure.STOPPED_ITSELF: "It powered itself off.",
        Departure.TIME_LIMIT: "It had run as long as it may.",
        Departure.DELETED: "Somebody else deleted it.",
        Departure.UNKNOWN: "It is gone, and the cloud does not say why; what it had in hand is done elsewhere.",
    }[departure]
