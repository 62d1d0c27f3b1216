"""The enhancing of one batch, seen from its flow process: chunks go out, news comes in, the ledger hears of it.

Each chunk is worked off by a Prefect task that waits here for a Dask future (docs/decisions/0001). While it waits,
the machine tells of every image on a Dask topic; `flush` writes that news to the ledger in bulk, so that an image
counts as done within a second and an image costs no transaction of its own.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distributed import Client
from pydantic import TypeAdapter

from flows.models import is_somebodys_own, model_key
from flows.registering import work_key
from infra.pool import dispatch, ends, inert
from infra.pool.certificates import Certificate
from infra.records import BatchStopped, Fenced, ImageOutcome, Ledger
from infra.records.tables import Batch, Chunk, Image
from infra.settings import Settings
from infra.states import AttemptEnd, LifeState, MachineEnd
from infra.storage.shelf import Shelf
from workers import chunk as machine_side
from workers.job import ChunkJob, ChunkResult, ImageJob
from workers.model import ModelError
from workers.rejects import RejectReason

DEADLY = 3
"""Machines that an image may take down with it before it is set aside as the cause."""
VERDICT_DEADLINE = 20.0
"""Seconds within which the keeper says why a machine went away."""


class NoCapacity(Exception):
    """No machine could be had in time; a sentence that says what to do."""


class LostMachine(Exception):
    """What a task run shows when its machine is gone: which machine, which images, and that it is tried again."""


class _Nonsense(Exception):
    """A machine answered with something else than the result of a chunk."""


@dataclass
class Hand:
    """What one attempt has in hand, from the news of its machine."""

    given: frozenset[int] = frozenset()
    """The images that it was sent with; news of any other is not believed."""
    image: int | None = None
    news: float | None = None
    begun_at: datetime | None = None
    worker: str | None = None
    """The Dask worker's name; a machine with several GPUs has several."""

    @property
    def machine(self) -> str | None:
        return None if self.worker is None else dispatch.machine_of(self.worker)


@dataclass
class Enhancing:
    """Everything that the chunk tasks of one batch share. Used by many threads."""

    settings: Settings
    ledger: Ledger
    batch: Batch
    inputs: Shelf
    outputs: Shelf
    work: Shelf
    topic: str
    preview_every: int = 1
    """Of so many images, one gets before and after pictures for the report."""
    stop: threading.Event = field(default_factory=threading.Event)
    trouble: Exception | None = None
    """Why the work was stopped, if nobody asked for it."""
    _connecting: threading.Lock = field(default_factory=threading.Lock)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _client: Client | None = None
    _queue: dispatch.Queue | None = None
    _life: int | None = None
    _told: list[tuple[int, ImageOutcome]] = field(default_factory=list)
    _hands: dict[int, Hand] = field(default_factory=dict)
    _lost_with: dict[int, list[str]] = field(default_factory=dict)
    """For each image, the machines that went away without notice while they worked on it."""
    _losses: dict[int, list[str]] = field(default_factory=dict)

    def wait_for_machines(self, say: Callable[[str], None]) -> int:
        """Wait until the pool has a machine; how many it has. Raises NoCapacity after the deadline, Stopped."""
        until = time.monotonic() + self.settings.capacity_deadline
        said = None
        while not self.stop.is_set():
            with suppress(ends.PoolError):
                if found := len(dispatch.machines_of(self.client(until))):
                    return found
            if time.monotonic() > until or self._waits_in_vain():
                raise self._no_capacity()
            if said != (said := "waiting for a machine to check in"):
                say(said)
            time.sleep(0.25)
        raise ends.Stopped

    def client(self, until: float) -> Client:
        """A client of the pool's present scheduler; waits for one until that `time.monotonic()`."""
        while not self.stop.is_set():
            with self._connecting:
                if (client := self._connected()) is not None:
                    return client
            if time.monotonic() > until or self._waits_in_vain():
                raise self._no_capacity()
            time.sleep(0.25)
        raise ends.Stopped

    def _connected(self) -> Client | None:
        """The client of the open life, connected if need be; None while there is none."""
        life = self.ledger.current_life()
        if life is None or life.state is not LifeState.OPEN or not life.scheduler_address:
            return None
        if self._client is not None and self._life == life.id and self._client.status == "running":
            return self._client
        self._forget_client()
        try:
            certificates = Certificate.of(Path(life.details["certificates"]), "client")
            self._client = dispatch.connect(life.scheduler_address, certificates)
        except ends.PoolGone:
            return None
        self._queue = dispatch.Queue(self._client)
        self._client.subscribe_topic(self.topic, self._hear)
        self._life = life.id
        return self._client

    def places(self) -> int:
        """How many chunks the machines that are there can work on at the same time."""
        client = self._client
        try:
            return dispatch.places_of(client) if client is not None and client.status == "running" else 0
        except (OSError, TimeoutError, RuntimeError):  # the last: it was closed at this moment
            return 0

    def losses_of(self, chunk: Chunk) -> list[str]:
        """Why the attempts of a chunk in this run were not the last, in order."""
        return self._losses.get(chunk.id, [])

    def chunk(self, chunk: Chunk) -> tuple[int, int]:
        """Have one chunk worked off, or what is missing of it; (images done, images rejected).

        Raises LostMachine when it should be tried again, Stopped when the batch is to end.
        """
        try:
            return self._attempt(chunk)
        except LostMachine as lost:
            self._losses.setdefault(chunk.id, []).append(str(lost))
            raise

    def _attempt(self, chunk: Chunk) -> tuple[int, int]:
        client = self.client(time.monotonic() + self.settings.capacity_deadline)
        try:
            attempt = self.ledger.open_attempt(chunk.id, _now())
        except BatchStopped as stopped:
            raise ends.Stopped from stopped
        missing = self.ledger.missing(chunk.id)
        end, hand = AttemptEnd.FAILED, Hand(frozenset(image.id for image in missing))
        self._hands[attempt.id] = hand
        try:
            result, outcomes = self._send(client, attempt.id, missing, hand, again=attempt.number > 1)
            self.flush()
            self._record(attempt.id, outcomes)
            end = AttemptEnd.PREEMPTED if result.left else AttemptEnd.FINISHED
            if result.left:
                raise LostMachine(
                    f"machine {hand.machine} was told to go: it finished the image in hand and handed back "
                    f"{len(result.left)}, which go to another one"
                )
            return sum(o.done for o in result.outcomes), sum(not o.done for o in result.outcomes)
        except ends.MachineLost as lost:
            end, hand.worker = AttemptEnd.MACHINE_LOST, lost.machine
            self._suspect(attempt.id, hand)
            raise LostMachine(f"machine {lost.machine} is gone; what is missing goes to another one") from lost
        except _Nonsense as nonsense:
            if hand.worker is not None:
                with suppress(ends.PoolGone):
                    dispatch.send_away(client, hand.worker)
            raise LostMachine(f"machine {hand.machine} was sent away: {nonsense}") from nonsense
        except ends.TookTooLong as slow:
            end = AttemptEnd.TIMED_OUT
            if hand.worker is None:
                if not self._has_machines(client):
                    raise self._no_capacity() from slow
                raise LostMachine(f"{slow}; it is sent again") from slow
            self._suspect(attempt.id, hand)
            with suppress(ends.PoolGone):
                dispatch.send_away(client, hand.worker)
            raise LostMachine(f"machine {hand.machine} was sent away: {slow}; it goes on elsewhere") from slow
        except ends.PoolGone as gone:
            end = AttemptEnd.MACHINE_LOST
            raise LostMachine(f"{gone}; what is missing is sent again") from gone
        except ends.Stopped:
            end = AttemptEnd.CANCELLED
            raise
        finally:
            self.flush()
            self._hands.pop(attempt.id, None)
            with suppress(Fenced):  # somebody else has closed it: a cancel, or a newer attempt
                self.ledger.end_attempt(
                    attempt.id, end, _now(), hand.machine, in_hand=hand.image, begun_at=hand.begun_at
                )

    def flush(self) -> None:
        """Write the news of the machines to the ledger."""
        with self._telling:
            told, self._told = self._told, []
        by_attempt: dict[int, list[ImageOutcome]] = {}
        for attempt, outcome in told:
            by_attempt.setdefault(attempt, []).append(outcome)
        for attempt, outcomes in by_attempt.items():
            self._record(attempt, outcomes)

    def close(self) -> None:
        """Let go of the scheduler. Chunks that are still out end as stopped, not as lost."""
        self.stop.set()
        with self._connecting:
            self._forget_client()

    def _send(
        self, client: Client, attempt: int, missing: list[Image], hand: Hand, *, again: bool
    ) -> tuple[ChunkResult, list[ImageOutcome]]:
        answer = dispatch.wait_for(
            client,
            machine_side.run,
            self._job(attempt, missing),
            stopped=self.stop.is_set,
            last_news=lambda: hand.news,
            patience=self.settings.image_deadline,
            queue_patience=self.settings.capacity_deadline,
            queue=self._queue,
            priority=1 if again else 0,  # it has waited before
        )
        try:
            result = _RESULT.validate_python(answer)
            outcomes = [_outcome(vars(outcome)) for outcome in result.outcomes]
        except ValueError as error:
            raise _Nonsense(f"it answered with what is no result of a chunk: {error}") from error
        if {outcome.image_id for outcome in outcomes} | {*result.left} != hand.given:
            raise _Nonsense("it answered for other images than it was sent")
        return result, outcomes

    def _job(self, attempt: int, images: list[Image]) -> ChunkJob:
        base = work_key(self.batch)
        return ChunkJob(
            batch=self.batch.name,
            attempt=attempt,
            topic=self.topic,
            model=model_key(self.batch.model_checksum) if is_somebodys_own(self.batch.model) else self.batch.model,
            model_name=self.batch.model,
            model_checksum=self.batch.model_checksum,
            scale=self.batch.scale,
            images=tuple(
                ImageJob(
                    image_id=image.id,
                    source=image.name,
                    target=f"{self.batch.name}/{image.output_name}",
                    receipt=f"{base}/receipts/{image.number}-{self.batch.round}.json",
                    preview=f"{base}/previews/{image.number}" if image.number % self.preview_every == 0 else None,
                )
                for image in images
            ),
            inputs=self.inputs,
            outputs=self.outputs,
            work=self.work,
            one_at_a_time=any(image.id in self._lost_with for image in images),
        )

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """News from a machine; called on the Dask client's own thread, so it only takes note."""
        _, news = event
        hand = self._hands.get(news.get("attempt", -1))
        if hand is None:
            return
        hand.news, hand.worker = time.monotonic(), str(news.get("machine"))
        hand.image = begun if (begun := news.get("begun")) in hand.given else None
        hand.begun_at = hand.begun_at or _now()
        outcome = _checked(news["outcome"]) if "outcome" in news else None
        if outcome is not None and outcome.image_id in hand.given:
            with self._telling:
                self._told.append((news["attempt"], outcome))

    def _record(self, attempt: int, outcomes: list[ImageOutcome]) -> None:
        with suppress(Fenced):  # too late: another attempt has taken over, and finds what was published
            self.ledger.record(attempt, outcomes, _now())

    def _suspect(self, attempt: int, hand: Hand) -> None:
        """Note whom a machine died on; an image that takes down one machine after the other is set aside.

        Machines that the cloud took back do not count: that was not the image's fault.
        """
        if hand.image is None or hand.machine is None:
            return
        lost = self._lost_with.setdefault(hand.image, [])
        lost.append(hand.machine)
        if len(lost) < DEADLY:
            return
        lost[:] = [name for name in lost if not self._was_preempted(name)]
        if len(lost) >= DEADLY:
            message = (
                f"{DEADLY} machines died while they worked on it: it is probably too large for their memory, "
                "or it breaks a decoder. Save it again with another program, or make it smaller"
            )
            self._record(
                attempt,
                [ImageOutcome(hand.image, done=False, reason=RejectReason.KILLS_MACHINES.value, message=message)],
            )

    def _was_preempted(self, machine: str) -> bool:
        """Whether the cloud took it back; the keeper knows it some seconds after the connection broke."""
        until = time.monotonic() + VERDICT_DEADLINE
        while not self.stop.is_set() and time.monotonic() < until:
            row = self.ledger.find_machine(machine)
            if row is None or row.end is not None:
                return row is not None and row.end is MachineEnd.PREEMPTED
            time.sleep(0.25)
        return False

    def _has_machines(self, client: Client) -> bool:
        try:
            return bool(dispatch.machines_of(client))
        except (OSError, TimeoutError):
            return False

    def _waits_in_vain(self) -> bool:
        """Whether the pool has no machine, and cannot have one until a person has changed something."""
        life = self.ledger.current_life()
        return life is not None and bool(life.details.get("for_good"))

    def _forget_client(self) -> None:
        if self._client is not None:
            dispatch.disconnect(self._client)
        self._client = None

    def _why_none_came(self, life: int) -> str:
        """Why the last machine of a life that did not boot did not."""
        failed = [machine for machine in self.ledger.machines(life) if machine.end is MachineEnd.BOOT_FAILED]
        return f"machine {failed[-1].name} did not come up. {failed[-1].reason}" if failed else ""

    def _no_capacity(self) -> NoCapacity:
        life = self.ledger.current_life()
        waits = (life.details.get("waits", "") or self._why_none_came(life.id)) if life else ""
        within = "" if self._waits_in_vain() else f" within {self.settings.capacity_deadline:.0f} s"
        return NoCapacity(
            f"no machine could be had{within}{': ' + waits if waits else ''}. Nothing is lost: mend that, see "
            f"`spotlift machines` and `spotlift doctor`, then `spotlift retry {self.batch.name}`"
        )


_RESULT = TypeAdapter(ChunkResult)
_OUTCOMES = TypeAdapter(ImageOutcome)
inert.allow(machine_side.WrongModel, ModelError)


def _outcome(fields: Mapping[str, Any]) -> ImageOutcome:
    """An outcome as the ledger wants it. Raises ValueError for whatever else a machine may send."""
    return _OUTCOMES.validate_python({**fields, "message": fields.get("message") or ""})


def _checked(fields: Mapping[str, Any]) -> ImageOutcome | None:
    """The outcome in a piece of news; None if it is none: the result of the chunk will tell."""
    try:
        return _outcome(fields)
    except (ValueError, TypeError, AttributeError):
        return None


def _now() -> datetime:
    return datetime.now(UTC)
