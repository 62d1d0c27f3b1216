"""The watcher: takes what arrives in the inbox, looks after the runs of open batches, and calls for a pool.

It works in shifts, so that the list of runs stays short. A shift that dies loses nothing: what it had decided
stands in the ledger, and the next one looks again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from flows import registering
from flows.care import Care, Patient, RunState, care_for
from flows.leases import KEEPER, WATCHER, WATCHER_SECONDS, of_batch
from flows.runs import SPOT_POOL, Runs, ServerUnreachable, since
from infra import arrivals
from infra.arrivals import Arrival, ArrivalError
from infra.records import IllegalMove, Ledger, LedgerUnreachable, Refused
from infra.records.tables import Batch, Life
from infra.settings import Settings, read_settings
from infra.states import OPEN_BATCHES, BatchEnd, BatchState, LifeEnd
from infra.storage import LocalStore, StorageError

SHIFT = timedelta(minutes=15)
"""As in prefect.yaml, where the next shift is scheduled."""
HANDOVER = timedelta(seconds=15)
"""How long a shift goes on when the next one has begun: a run takes some seconds to start."""
HANDOVER_DEADLINE = timedelta(seconds=60)
"""How long a shift waits for the one before it to end."""
PAUSE_BEFORE_FAILING = 10.0
"""Seconds."""
KEEPER_BEGINS_WITHIN = timedelta(seconds=60)
"""A keeper that holds no lease after this time has died."""

FIRST_KEEPER_PAUSE = timedelta(seconds=2)
LONGEST_KEEPER_PAUSE = timedelta(minutes=5)
"""After a life that failed, before the next keeper is called; doubled with each further failure in a row."""

_RUN_STATES: dict[StateType | None, RunState] = {
    StateType.SCHEDULED: RunState.QUEUED,
    StateType.PENDING: RunState.PENDING,
    StateType.RUNNING: RunState.RUNNING,
    StateType.CANCELLING: RunState.RUNNING,
    StateType.PAUSED: RunState.QUEUED,
    StateType.CANCELLED: RunState.CANCELLED,
}


@flow(name="watch-inbox", flow_run_name="watch the inbox")
def watch_inbox() -> str:
    """One shift: look into the inbox every second or so, until the next shift has begun."""
    settings = read_settings()
    watcher = Watcher(settings, Ledger(settings.ledger_url), Runs.of(settings), get_run_logger().info)
    holder, begun = str(flow_run.id), _now()
    end = shift_end(begun, SHIFT)
    while not watcher.ledger.hold(WATCHER, holder, WATCHER_SECONDS, _now()):
        if _now() - begun > HANDOVER_DEADLINE:
            return "another watcher is at work"
        time.sleep(0.2)
    try:
        watcher.sweep(_now())
        while (now := _now()) < end and watcher.look_as(holder, now):
            time.sleep(settings.look_every)
    except Exception:
        time.sleep(PAUSE_BEFORE_FAILING)  # the next shift begins at once: do not flood the list of runs
        raise
    finally:
        with suppress(LedgerUnreachable):  # it runs out by itself
            watcher.ledger.let_go(WATCHER, holder)
    return f"{watcher.taken} batches taken"


def shift_end(now: datetime, length: timedelta) -> datetime:
    """When a shift that begins now ends: when the next multiple of its length, where another begins, is well past."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + ((now - midnight) // length + 1) * length + HANDOVER


@dataclass
class Watcher:
    """One look after the other into inbox, ledger and runs."""

    settings: Settings
    ledger: Ledger
    runs: Runs
    say: Callable[[str], None]
    taken: int = 0
    said: set[str] = field(default_factory=set)
    calls: "Calls" = field(default_factory=lambda: Calls())

    def look_as(self, holder: str, now: datetime) -> bool:
        """Do everything that is due now; False when somebody else watches.

        What cannot be done at this moment is said once, and tried again.
        """
        try:
            if not self.ledger.hold(WATCHER, holder, WATCHER_SECONDS, now):
                return False
            self.take_arrivals(now)
            self.care(now)
        except (LedgerUnreachable, StorageError, ServerUnreachable) as error:
            self._say_once(f"{error} Trying again every {self.settings.look_every:g} s.")
        return True

    def take_arrivals(self, now: datetime) -> None:
        """Take every batch that is complete and not in the ledger yet."""
        known = {batch.source for batch in self.ledger.batches()}
        for arrival in arrivals.look(self.settings.inbox_folder, skip=known):
            if arrivals.is_ready(arrival, now, timedelta(seconds=self.settings.quiet)):
                self._take(arrival, now)

    def care(self, now: datetime) -> None:
        """Give every open batch what it needs, and the pool a keeper while there is one."""
        batches = self.ledger.batches()
        if any(batch.state in OPEN_BATCHES for batch in batches) or self.ledger.lives(open_only=True):
            self._call_keeper(now)  # first: a machine takes the longest to be there
        for batch in batches:
            try:
                if batch.state in OPEN_BATCHES:
                    self._care_for(batch, now)
                elif batch.state is BatchState.FAILED and batch.flow_run_id is None:
                    run = self.runs.show_refused(batch.name, batch.message)
                    self.ledger.attach_run(batch.id, str(run), now)
            except (IllegalMove, Refused):
                continue  # it moved on since it was read; the next look sees where it is

    def _say_once(self, what: str) -> None:
        """Say what lasts only when it begins."""
        if what not in self.said:
            self.say(what)
            self.said.add(what)

    def sweep(self, now: datetime) -> None:
        """Remove what was left half-written by processes that were killed long ago."""
        arrivals.sweep(self.settings.inbox_folder, now)
        arrivals.sweep_unpacking(self.settings.work_folder, now)
        for folder in (self.settings.outbox_folder, self.settings.work_folder):
            LocalStore(folder).sweep(now)

    def _take(self, arrival: Arrival, now: datetime) -> None:
        known: dict[str, Any] = {
            "kind": arrival.kind, "source": arrival.source, "fingerprint": arrival.fingerprint, "now": now
        }  # fmt: skip
        try:
            wish = registering.wish_of(arrival, self.settings)
        except ArrivalError as error:
            self._refuse(arrival, error.end, error.message, known)
            return
        except StorageError:
            raise  # the disk, say: another look may find it mended
        except Exception as error:  # noqa: BLE001 - one arrival never stops the others, whatever is wrong with it
            self._refuse(arrival, BatchEnd.INTERNAL_ERROR, f"it cannot be looked at: {error!r}", known)
            return
        if self.ledger.take(arrival.name, **vars(wish), **known) is not None:
            self.taken += 1
            self.say(f"{arrival.name}: taken from the inbox ({arrival.files} files, {arrival.bytes:,} bytes)")
        else:
            self._say_once(f"{arrival.source} stays in the inbox: there is a batch {arrival.name} already; rename it")

    def _refuse(self, arrival: Arrival, end: BatchEnd, why: str, known: dict[str, Any]) -> None:
        if self.ledger.refuse(arrival.name, reason=end, message=why, **known) is not None:
            self.say(f"{arrival.name}: refused. {why}")

    def _care_for(self, batch: Batch, now: datetime) -> None:
        deadline = timedelta(seconds=self.settings.capacity_deadline)
        care = care_for(self._examine(batch), self.settings.restarts, now, deadline)
        if care is Care.NOTHING:
            return
        if care is Care.CANCEL:
            if batch.state is not BatchState.CANCELLING:
                self.ledger.ask_cancel(batch.id, now)
            self.ledger.cancelled(batch.id, now)
            if batch.flow_run_id:
                self.runs.cancel(batch.flow_run_id, "the batch was cancelled")
        elif care is Care.NO_POOL:
            why = self.runs.why_failed(SPOT_POOL) or "the latest run of spot-pool says why"
            message = (
                f"the pool did not open within {self.settings.capacity_deadline:.0f} s: {why}. Nothing is lost: mend "
                f"that, then `spotlift retry {batch.name}`"
            )
            self.ledger.fail(batch.id, BatchEnd.NO_CAPACITY, message, now)
            if batch.flow_run_id:
                self.runs.cancel(batch.flow_run_id, message)
        elif care is Care.GIVE_UP:
            message = (
                f"its run died {batch.restarts + 1} times. The logs of its runs say why; "
                f"`spotlift retry {batch.name}` goes on with what is missing"
            )
            self.ledger.fail(batch.id, BatchEnd.GAVE_UP, message, now)
        else:
            if care is Care.RESTART:
                if batch.flow_run_id:
                    self.runs.declare_crashed(batch.flow_run_id, "its process died; another run goes on with the batch")
                    self.ledger.let_go(of_batch(batch.id), batch.flow_run_id)
                self.ledger.restarted(batch.id, now)
            run = self.runs.start_batch(batch.name, batch.round)
            self.ledger.attach_run(batch.id, str(run), now)
        self.say(f"{batch.name}: {_SAID[care]}")

    def _examine(self, batch: Batch) -> Patient:
        found = self.runs.find(batch.flow_run_id) if batch.flow_run_id else None
        lease = self.ledger.lease(of_batch(batch.id))
        return Patient(
            state=batch.state,
            has_run=batch.flow_run_id is not None,
            run=_RUN_STATES.get(found.state_type, RunState.ENDED) if found else RunState.NONE,
            run_since=since(found) if found else None,
            lease_until=lease.until if lease else None,
            lease_is_its_own=lease is not None and lease.holder == batch.flow_run_id,
            restarts=batch.restarts,
            pool_is_open=self.ledger.current_life() is not None,
        )

    def _call_keeper(self, now: datetime) -> None:
        """Start a run that keeps the pool, unless one lives or is about to."""
        lease = self.ledger.lease(KEEPER)
        if lease is not None and lease.until > now:
            if not self._has_ended(lease.holder):
                return
            self.ledger.let_go(KEEPER, lease.holder)  # its process died: nobody will renew it
        lives = self.ledger.lives()
        if (pause := keeper_pause(lives)) is not None and now < pause:
            return
        if not self.calls.may_call(lives[-1].id if lives else None, now):
            return
        for run in self.runs.living(SPOT_POOL):
            began = since(run)
            if run.state_type is not StateType.SCHEDULED and began and now - began > KEEPER_BEGINS_WITHIN:
                self.runs.declare_crashed(run.id, "its process died; another run keeps the pool")
            else:
                return
        self.runs.start(SPOT_POOL)
        self.calls.called(now)
        self.say("calling for a keeper of the pool")

    def _has_ended(self, run_id: str) -> bool:
        """Whether the server knows that a run is over."""
        run = self.runs.find(run_id)
        return run is not None and run.state is not None and run.state.is_final()


def keeper_pause(lives: Sequence[Life]) -> datetime | None:
    """Until when no other keeper is called because the last lives failed, one soon after the other; None: call one.

    Pools that fail at once would otherwise begin again every few seconds for as long as a batch waits.
    """
    failed = [*takewhile(lambda life: life.end is LifeEnd.FAILED and life.closed_at is not None, reversed(lives))]
    if not failed or failed[0].closed_at is None:
        return None
    return failed[0].closed_at + _pause_after(len(failed))


def _pause_after(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: twice as long with each further one."""
    pause: timedelta = FIRST_KEEPER_PAUSE * 2.0 ** min(failures - 1, 10)
    return min(pause, LONGEST_KEEPER_PAUSE)


@dataclass
class Calls:
    """How often a keeper was called since the last life began: one that fails before that leaves no other trace."""

    life: int | None = None
    in_vain: int = 0
    last: datetime | None = None

    def may_call(self, newest_life: int | None, now: datetime) -> bool:
        """Whether it is time to call again: at once for the first time, then after a pause that doubles."""
        if newest_life != self.life:
            self.life, self.in_vain = newest_life, 0
        return self.last is None or not self.in_vain or now - self.last >= _pause_after(self.in_vain)

    def called(self, now: datetime) -> None:
        self.in_vain, self.last = self.in_vain + 1, now


_SAID = {
    Care.START: "its run is in the queue",
    Care.RESTART: "its run died; another one goes on with what is missing",
    Care.NO_POOL: "given up, because the pool does not open",
    Care.GIVE_UP: "given up after too many restarts",
    Care.CANCEL: "cancelled",
}


def _now() -> datetime:
    return datetime.now(UTC)
