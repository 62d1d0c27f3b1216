"""The pool in words, for terminal and UI: its state in a sentence, its machines as a table, its events by name."""

from collections.abc import Mapping, Sequence
from typing import Final

from flows.spans import clock
from infra.records.tables import Event, Machine
from infra.states import EventKind, MachineEnd, MachineState


def status_line(living: Sequence[Machine], waits: str) -> str:
    """The pool in one sentence: how many machines there are, what they cost an hour, and what is missing."""
    serving = sum(m.checked_in_at is not None and m.state is MachineState.RUNNING for m in living)
    coming = sum(m.checked_in_at is None and m.state is not MachineState.STOPPING for m in living)
    parts = [f"{serving} machine{'' if serving == 1 else 's'} at work"]
    if coming:
        parts.append(f"{coming} on the way")
    if dollars := sum(machine.price_per_hour or 0.0 for machine in living):
        parts.append(f"${dollars:.2f} an hour")
    said = ", ".join(parts) if living else "no machine is rented"
    return f"Now: {said}." + (f" Waiting: {waits}" if waits else "")


def machines_table(machines: Sequence[Machine]) -> str:
    """The machines of a life as a Markdown table, those that are there first. It changes only when a machine does."""
    lines = [
        "| machine | state | why it ended | asked for | booted in | lasted | zone | type |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in sorted(machines, key=lambda m: (m.state is MachineState.TERMINATED, m.id)):
        gpu = f" + {m.gpus} × {m.gpu}" if m.gpu else ""
        booted = clock((m.checked_in_at - m.requested_at).total_seconds()) if m.checked_in_at else ""
        lasted = clock((m.ended_at - m.started_at).total_seconds()) if m.started_at and m.ended_at else ""
        state = "at work" if m.state is MachineState.RUNNING and m.checked_in_at else m.state.value
        ended = f"{m.end}: {m.reason}" if m.end and m.reason else m.end or ""
        kind = f"{m.machine_type}{gpu}{', spot' if m.spot else ''}"
        cells = m.name, state, ended, f"{m.requested_at:%H:%M:%S}", booted, lasted, m.zone, kind
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(lines)


_EVENT_NAMES: Final[Mapping[EventKind, str]] = {
    EventKind.MACHINE_REQUESTED: "spotlift.machine.rented",
    EventKind.MACHINE_CHECKED_IN: "spotlift.machine.checked-in",
    EventKind.ORPHAN_FOUND: "spotlift.machine.orphan-returned",
    EventKind.POOL_WAITS: "spotlift.pool.waits",
    EventKind.LIFE_MOVED: "spotlift.pool.moved",
}
_END_NAMES: Final[Mapping[str, str]] = {
    MachineEnd.PREEMPTED: "preempted",
    MachineEnd.STOCKOUT: "stockout",
    MachineEnd.QUOTA: "quota-reached",
    MachineEnd.REFUSED: "refused",
    MachineEnd.NEVER_CREATED: "refused",
    MachineEnd.BOOT_FAILED: "boot-failed",
    MachineEnd.LOST: "lost",
}


def event_name(event: Event) -> str | None:
    """What Prefect's automations know a line of the diary as; None if nobody needs to react to it.

    A machine's end is told once, when it becomes known: as it begins to leave, or when it is gone at once.
    """
    if event.kind in _EVENT_NAMES:
        return _EVENT_NAMES[event.kind]
    end, known_before = event.details.get("end"), event.details.get("from") == MachineState.STOPPING
    if event.kind not in (EventKind.MACHINE_MOVED, EventKind.MACHINE_TERMINATED) or end is None or known_before:
        return None
    return f"spotlift.machine.{_END_NAMES.get(end, 'returned')}"


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")
