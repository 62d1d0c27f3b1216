"""What people see of a life of the pool: its diary, its machines and their cost, the bill, and events to react to.

All of it is told in a thread of its own, so that a Prefect server that is slow or away costs the picture and never
the machines.
"""

from collections import deque
from collections.abc import Callable, Mapping
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

from flows.pool_told import cell, event_name, machines_table, status_line
from flows.runs import Runs
from infra.pool.bill import bill, markdown
from infra.pool.books import as_rented
from infra.records import Ledger, LedgerUnreachable
from infra.records.tables import Event, Life
from infra.stack import GPU_POOL
from infra.states import MachineState

WRITE_EVERY: Final = timedelta(seconds=5)
BILL_EVERY: Final = timedelta(seconds=60)
"""A bill grows all the time; shown anew each time, it would fill the event feed of the UI."""
PATIENCE: Final = 5.0
"""Seconds that the server may take."""
LONGEST_DIARY: Final = 500
"""Lines that are shown; the ledger has them all."""
ABOUT: Final = "Has a worker and machines only while there is work."

TOLD: Final = "told"
"""Detail of a life: the last event of it that Prefect was told of, so that its next keeper does not tell it again."""

Show = Callable[[str, str, str], bool]
"""Shows Markdown under a key, with a description; again under the same key replaces it. False: not this time."""
Tell = Callable[[str, str, Mapping[str, str], datetime], None]
"""Tells of an event: its name, the machine or life that it is about, details, and when it happened."""


@dataclass
class Board:
    """Keeps what people see of one life in step with the ledger."""

    ledger: Ledger
    life: Life
    show: Show
    tell: Tell
    _diary: deque[str] = field(default_factory=lambda: deque(maxlen=LONGEST_DIARY))
    _last: int = 0
    _shown: dict[str, str] = field(default_factory=dict)
    _written: datetime | None = None
    _billed: datetime | None = None
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
        self._billed = None
        self._thread.submit(self._write, now).result()
        self._thread.shutdown()

    def _write(self, now: datetime) -> None:
        try:
            self._write_diary()
            machines = self.ledger.machines(self.life.id)
            worked, lost = self.ledger.worked_seconds(self.life.id), dict[str, float]()
            for name, seconds in self.ledger.lost_attempts(self.life.id):
                lost[name] = lost.get(name, 0.0) + seconds
            waits = self.ledger.life(self.life.id).details.get("waits", "")
        except LedgerUnreachable:
            return  # the keeper says so, and the next time all of it is told
        rented = [as_rented(m, worked.get(m.name, 0.0), lost.get(m.name, 0.0)) for m in machines]
        living = [machine for machine in machines if machine.state is not MachineState.TERMINATED]
        self._put("pool", "", status_line(living, waits))
        table = machines_table(machines)
        if self._billed is None or now - self._billed >= BILL_EVERY or table != self._shown.get("machines"):
            self._billed = now
            self._put("bill", f"What life {self.life.id} of the pool has cost so far", markdown(bill(rented, now)))
        self._put("machines", f"Machines of life {self.life.id} of the pool", table)

    def _write_diary(self) -> None:
        while news := self.ledger.events(self._last, life_id=self.life.id):
            self._last = news[-1].id
            self._diary.extend(map(_row, news))
            told = int(self.life.details.get(TOLD, 0))
            for event in news:
                if event.id > told and (name := event_name(event)) is not None:
                    self.tell(name, _subject(event), _details(event), event.at)
            if self._last > told:
                self.life = self.ledger.life_knows(self.life.id, {TOLD: self._last})
        lines = ["| time (UTC) | what happened |", "| --- | --- |", *self._diary]
        self._put("diary", f"Diary of life {self.life.id} of the pool", "\n".join(lines))

    def _put(self, what: str, description: str, markdown: str) -> None:
        if self._shown.get(what) != markdown:
            key = what if what == "pool" else f"pool-life-{self.life.id}-{what}"
            if self.show(key, description, markdown):
                self._shown[what] = markdown


def _subject(event: Event) -> str:
    return f"spotlift.machine.{event.machine_id}" if event.machine_id else f"spotlift.pool-life.{event.life_id}"


def _details(event: Event) -> dict[str, str]:
    return {"message": event.message, **{name: str(value) for name, value in event.details.items()}}


def _row(event: Event) -> str:
    return f"| {event.at:%H:%M:%S} | {cell(event.message)} |"


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

    def show(self, key: str, description: str, markdown: str) -> bool:
        """Make the artifact or bring it up to date, if possible; the key `pool` stands for the work pool itself."""
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
            return False
        return True
