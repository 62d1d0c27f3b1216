"""What people see of a life of the pool: its diary, its machines and their cost, the bill, and events to react to.

All of it is told in a thread of its own, so that a Prefect server that is slow or away costs the picture and never
the machines.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate, WorkPoolUpdate
from prefect.events import emit_event
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.runs import Runs
from flows.spans import clock
from infra.pool.bill import bill, markdown
from infra.pool.books import as_rented
from infra.records import Ledger, LedgerUnreachable
from infra.records.tables import Event, Machine
from infra.stack import GPU_POOL
from infra.states import EventKind, MachineEnd, MachineState

WRITE_EVERY: Final = timedelta(seconds=5)
PATIENCE: Final = 5.0
"""Seconds that the server may take."""
ABOUT: Final = "Has a worker and machines only while there is work."

Show = Callable[[str, str, str], None]
"""Shows Markdown under a key, with a description; again under the same key replaces it."""
Tell = Callable[[str, str, Mapping[str, str], datetime], None]
"""Tells of an event: its name, the machine or life that it is about, details, and when it happened."""


@dataclass
class Board:
    """Keeps what people see of one life in step with the ledger."""

    ledger: Ledger
    life_id: int
    show: Show
    tell: Tell
    _diary: list[str] = field(default_factory=lambda: ["| time (UTC) | what happened |", "| --- | --- |"])
    _last: int = 0
    _shown: dict[str, str] = field(default_factory=dict)
    _written: datetime | None = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "board"))
    _writing: "Future[None] | None" = None

    def keep_up(self, now: datetime) -> None:
        """Bring everything up to date in the background, if the last time was long enough ago."""
        due = self._written is None or now - self._written >= WRITE_EVERY
        if due and (self._writing is None or self._writing.done()):
            self._written = now
            self._writing = self._thread.submit(self._write, now)

    def last(self, now: datetime) -> None:
        """Bring everything up to date once more, and wait for it: the life is over."""
        self._thread.submit(self._write, now).result()
        self._thread.shutdown()

    def _write(self, now: datetime) -> None:
        try:
            self._write_diary()
            machines = self.ledger.machines(self.life_id)
            worked, lost = self.ledger.worked_seconds(self.life_id), dict[str, float]()
            for name, seconds in self.ledger.lost_attempts(self.life_id):
                lost[name] = lost.get(name, 0.0) + seconds
        except LedgerUnreachable:
            return  # the keeper says so, and the next time all of it is told
        rented = [as_rented(m, worked.get(m.name, 0.0), lost.get(m.name, 0.0)) for m in machines]
        living = [machine for machine in machines if machine.state is not MachineState.TERMINATED]
        self._put("pool", "", status_line(living, self.ledger.life(self.life_id).details.get("waits", "")))
        self._put("machines", f"Machines of life {self.life_id} of the pool", machines_table(machines, now))
        self._put("bill", f"What life {self.life_id} of the pool has cost so far", markdown(bill(rented, now)))

    def _write_diary(self) -> None:
        while news := self.ledger.events(self._last, life_id=self.life_id):
            self._last = news[-1].id
            self._diary += map(_row, news)
            for event in news:
                if (name := event_name(event)) is not None:
                    self.tell(name, _subject(event), _details(event), event.at)
        self._put("diary", f"Diary of life {self.life_id} of the pool", "\n".join(self._diary))

    def _put(self, what: str, description: str, markdown: str) -> None:
        if self._shown.get(what) != markdown:
            self.show(what if what == "pool" else f"pool-life-{self.life_id}-{what}", description, markdown)
            self._shown[what] = markdown


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


def machines_table(machines: Sequence[Machine], now: datetime) -> str:
    """The machines of a life as a Markdown table, those that are there first."""
    lines = [
        "| machine | zone | type | state | asked for | booted in | lasted | why it ended |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in sorted(machines, key=lambda m: (m.state is MachineState.TERMINATED, m.id)):
        gpu = f" + {m.gpus} × {m.gpu}" if m.gpu else ""
        booted = clock((m.checked_in_at - m.requested_at).total_seconds()) if m.checked_in_at else ""
        lasted = clock(((m.ended_at or now) - m.started_at).total_seconds()) if m.started_at else ""
        state = "at work" if m.state is MachineState.RUNNING and m.checked_in_at else m.state.value
        ended = f"{m.end}: {m.reason}" if m.end and m.reason else m.end or ""
        cells = m.name, m.zone, f"{m.machine_type}{gpu}{', spot' if m.spot else ''}", state
        lines.append(f"| {' | '.join(map(_cell, (*cells, f'{m.requested_at:%H:%M:%S}', booted, lasted, ended)))} |")
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


def _subject(event: Event) -> str:
    return f"spotlift.machine.{event.machine_id}" if event.machine_id else f"spotlift.pool-life.{event.life_id}"


def _details(event: Event) -> dict[str, str]:
    return {"message": event.message, **{name: str(value) for name, value in event.details.items()}}


def _row(event: Event) -> str:
    return f"| {event.at:%H:%M:%S} | {_cell(event.message)} |"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def tell_prefect(name: str, subject: str, details: Mapping[str, str], at: datetime) -> None:
    """Tell Prefect of an event, so that automations can react to it."""
    resource = {"prefect.resource.id": subject, "prefect.resource.name": details.get("message", "")[:200]}
    emit_event(name, resource, occurred=at, payload=dict(details))


@dataclass
class Wall:
    """The artifacts of one flow run, and the description of the work pool."""

    run_id: UUID
    runs: Runs
    say: Callable[[str], None]
    _ids: dict[str, UUID] = field(default_factory=dict)

    def show(self, key: str, description: str, markdown: str) -> None:
        """Make the artifact or bring it up to date; the key `pool` stands for the work pool itself."""
        try:
            with (
                temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
                get_client(httpx_settings={"timeout": PATIENCE}, sync_client=True) as client,
            ):
                if key == "pool":
                    client.update_work_pool(GPU_POOL, WorkPoolUpdate(description=f"{ABOUT} {markdown}"))
                elif key in self._ids:
                    client.update_artifact(self._ids[key], ArtifactUpdate(data=markdown))
                else:
                    new = ArtifactCreate(
                        key=key, type="markdown", description=description, data=markdown, flow_run_id=self.run_id
                    )
                    self._ids[key] = client.create_artifact(new).id
        except (httpx.HTTPError, PrefectException) as error:
            self.say(f"{key} cannot be shown: {error}")
