"""A pool in simulated time: the real keeper and the real ledger, the emulator's cloud, and machines that only pretend.

Nothing here waits: `Site.pass_time` moves the clock. The cloud is the emulator's world without HTTP and without
processes; its answers become ours by the same code that reads them from HTTP (`infra.machines`).
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.emulator import complaints
from infra.emulator.complaints import ApiError
from infra.emulator.model import Status
from infra.emulator.world import GUEST_TERMINATE, PREEMPTED, TIME_LIMIT, Times, World
from infra.machines.client import compute_v1
from infra.machines.cloud import outcome_of
from infra.machines.complaints import Complaint, Place, translate
from infra.machines.errors import CloudError, CloudUnreachable, Unclear
from infra.machines.orders import instance_of
from infra.machines.spec import Departure, Gpu, Instance, Listing, MachineSpec, Operation, Order, Outcome
from infra.pool.keeper import Keeper, Market
from infra.pool.plan import PoolPlan
from infra.pool.zones import Zone
from infra.records import ImageOutcome, Ledger, NewChunk, NewImage
from infra.records.tables import Attempt
from infra.states import AttemptEnd, LifeState, SourceKind

BEGIN = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROJECT = "simulated"
ZONES = ("us-central1-a", "us-central1-b", "us-east4-a")
IMAGE = "projects/debian-cloud/global/images/family/debian-12"
JOINS_AFTER = 6.0
"""Seconds from RUNNING until a machine joins."""
CHUNK_TAKES = 20.0
PIXELS = 20_000_000


class WorldCloud:
    """The emulator's world behind the keeper's view of a cloud, with the troubles that its HTTP side would have."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.orders: dict[str, int] = {}
        """How often each name was ordered."""
        self.overlooked = 0
        """So many listings miss every machine."""

    def rent(self, spec: MachineSpec, order: Order) -> Operation:
        self._trouble(changes=True)
        body = compute_v1.Instance.to_json(
            compute_v1.Instance(instance_of(spec, order, PROJECT)), always_print_fields_with_no_presence=False
        )
        made = self._asked(
            lambda: self.world.insert(PROJECT, order.zone, json.loads(body), self.world.now, order.request_id),
            order.zone,
        )
        self.orders[order.name] = self.orders.get(order.name, 0) + 1
        if self.world.faults.lost_answers.take(self.world.now):
            raise Unclear("The answer was lost.")
        return Operation(made.name, order.zone)

    def outcome(self, operation: Operation) -> Outcome:
        self._trouble()
        found = self._asked(
            lambda: self.world.operation(PROJECT, f"zones/{operation.zone}", operation.name), operation.zone
        )
        answer = compute_v1.Operation.from_json(json.dumps(found.json(self.world.now)), ignore_unknown_fields=True)
        return outcome_of(answer, Place(PROJECT, operation.zone))

    def listing(self, pool: str) -> Listing:
        self._trouble()
        if self.overlooked:
            self.overlooked -= 1
            return Listing({})
        silent = frozenset(zone for zone in ZONES if self.world.unreachable(zone))
        found = {
            it.name: Instance(it.name, it.zone, it.status.value, dict(it.labels), "")
            for it in self.world.instances(PROJECT)
            if it.labels.get("spotlift-pool") == pool and it.zone not in silent
        }
        return Listing(found, silent)

    def instance(self, name: str, zone: str) -> Instance | None:
        self._trouble()
        found = next((it for it in self.world.instances(PROJECT) if (it.name, it.zone) == (name, zone)), None)
        return found and Instance(name, zone, found.status.value, dict(found.labels), "")

    def give_back(self, name: str, zone: str) -> Operation | None:
        self._trouble(changes=True)
        try:
            made = self.world.delete(PROJECT, zone, name, self.world.now)
        except ApiError as error:
            if error.code == 404:
                return None
            raise _translated(error, zone) from error
        return Operation(made.name, zone)

    def why_gone(self, name: str, zone: str) -> Departure:
        self._trouble()
        kinds = [it.type for it in self.world.operations(PROJECT, f"zones/{zone}") if it.target.endswith(f"/{name}")]
        for kind, departure in (
            (PREEMPTED, Departure.PREEMPTED),
            (GUEST_TERMINATE, Departure.STOPPED_ITSELF),
            *((kind, Departure.TIME_LIMIT) for kind in TIME_LIMIT.values()),
            ("delete", Departure.DELETED),
        ):
            if kind in kinds:
                return departure
        return Departure.UNKNOWN

    def console(self, name: str, zone: str) -> str:  # noqa: ARG002 - as the keeper asks
        return ""

    def _trouble(self, *, changes: bool = False) -> None:
        now = self.world.now
        if self.world.faults.rate_limit.take(now):
            raise _translated(complaints.too_many_requests(PROJECT), "")
        if self.world.faults.unavailable.take(now):
            raise (Unclear if changes else CloudUnreachable)("The cloud does not answer.")

    @staticmethod
    def _asked(what: Callable[[], Any], zone: str) -> Any:
        try:
            return what()
        except ApiError as error:
            raise _translated(error, zone) from error


class Slowly(Executor):
    """Calls that take until the clock moves on; a keeper that is killed may leave them undone."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def do_all(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future, call in waiting:
            try:
                future.set_result(call())
            except CloudError as error:
                future.set_exception(error)


@dataclass
class Hands:
    """The machines as the scheduler would see them: they join some seconds after they run, and work chunks off."""

    ledger: Ledger
    world: World
    work: dict[str, tuple[Attempt, float]] = field(default_factory=dict)
    """What each machine has in hand, and since when."""
    expected: set[str] = field(default_factory=set)

    def metadata(self) -> Mapping[str, str]:
        return {}

    def expect(self, name: str, zone: str) -> None:  # noqa: ARG002 - as the keeper asks
        self.expected.add(name)

    def forget(self, name: str) -> None:
        self._lose(name)

    def refusal(self, name: str) -> str:  # noqa: ARG002 - as the keeper asks
        return ""

    def at_work(self) -> Mapping[str, bool]:
        return {name: name in self.work for name in self._joined()}

    def _joined(self) -> list[str]:
        return [
            it.name
            for it in self.world.instances(PROJECT)
            if it.status is Status.RUNNING
            and not it.never_boots
            and not it.preempted
            and it.name in self.expected
            and self.world.now - (it.started or 0.0) >= JOINS_AFTER
        ]

    def toil(self, now: datetime) -> None:
        """Finish what is done by now, lose what was in the hands of machines that are gone, begin what waits."""
        joined = self._joined()
        for name in [*self.work]:
            attempt, since = self.work[name]
            if name not in joined:
                self._lose(name, now)
            elif self.world.now - since >= CHUNK_TAKES:
                images = self.ledger.missing(attempt.chunk_id)
                outcomes = [ImageOutcome(i.id, done=True, sha256="0" * 64, seconds=1.0, model="fast") for i in images]
                self.ledger.record(attempt.id, outcomes, now)
                self.ledger.end_attempt(attempt.id, AttemptEnd.FINISHED, now, name)
                del self.work[name]
        in_hand = {attempt.chunk_id for attempt, _ in self.work.values()}
        waiting = [
            chunk
            for batch in self.ledger.batches(open_only=True)
            for chunk in self.ledger.chunks(batch.id, open_only=True)
            if chunk.id not in in_hand
        ]
        for name in joined:
            if waiting and name not in self.work:
                self.work[name] = (self.ledger.open_attempt(waiting.pop(0).id, now), self.world.now)
        for batch in self.ledger.batches(open_only=True):
            if not self.ledger.progress(batch.id).waiting:
                self.ledger.finish(batch.id, now)

    def _lose(self, name: str, now: datetime | None = None) -> None:
        found = self.work.pop(name, None)
        if found is not None:
            at = now or BEGIN + timedelta(seconds=self.world.now)
            self.ledger.end_attempt(found[0].id, AttemptEnd.MACHINE_LOST, at, name)


@dataclass
class Site:
    """Keeper, ledger, cloud and machines, at one simulated moment."""

    ledger: Ledger
    plan: PoolPlan
    world: World = field(default_factory=lambda: World(Times(2, 2, 0, 2, 2, 30)))
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = WorldCloud(self.world)
        self.hands = Hands(self.ledger, self.world)
        life = self.ledger.open_life(self.now)
        assert life is not None
        self.life = self.ledger.life_is_open(life.id, "tls://127.0.0.1:1", self.now)
        self.start_keeper()

    @property
    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.world.now)

    def start_keeper(self) -> None:
        """A keeper that knows nothing but the ledger; what the one before had begun and not done is lost."""
        self.threads = Slowly()
        spec = MachineSpec("g2-standard-4", None, IMAGE, "", timedelta(hours=12))
        zones = tuple(Zone(name, 0.3) for name in self.plan.zones)
        market = Market(spec, "sim", zones, dict.fromkeys(self.plan.zones, 0.7), Gpu("nvidia-l4"))
        self.keeper = Keeper(
            self.ledger, self.life, self.plan, market, self.cloud, self.hands, self.threads, self.said.append,
            timedelta(seconds=10), clock=lambda: self.world.now,
        )  # fmt: skip

    def pass_time(self, seconds: float) -> None:
        """Let time pass and have the keeper look once."""
        self.world.advance(self.world.now + seconds)
        self.threads.do_all()
        self.hands.toil(self.now)
        if self.ledger.life(self.life.id).state is LifeState.OPEN:
            self.keeper.step(self.now)
        else:
            self.keeper.close_step(self.now)

    def pass_until(self, holds: Callable[[], Any], within: float, step: float = 2.0) -> bool:
        """Let time pass until something holds; whether it did within so many seconds."""
        until = self.world.now + within
        while not holds():
            if self.world.now > until:
                return False
            self.pass_time(step)
        return True

    def batch_arrives(self, name: str, chunks: int) -> None:
        batch = self.ledger.take(
            name, kind=SourceKind.FOLDER, source=name, fingerprint="1", model="fast", scale=2, now=self.now
        )
        assert batch is not None
        images = [NewImage(f"{n}.png", f"{n}.png", 1000, 5000, 4000) for n in range(chunks)]
        cut = [NewChunk((image.name,), PIXELS) for image in images]
        self.ledger.register(batch.id, images, cut, self.now)
        self.ledger.start(batch.id, self.now)

    def instances(self) -> list[Any]:
        """What the cloud has, whatever it says at the moment."""
        return self.world.instances(PROJECT)


def plan(**changes: Any) -> PoolPlan:
    """A plan for tests, in simulated seconds."""
    usual = {"machine_type": "g2-standard-4", "zones": list(ZONES), "machines": 3, "idle_window": 60.0}
    return PoolPlan(**{**usual, "boot_deadline": 120.0, "max_run": 43_200.0, **changes})


def _translated(error: ApiError, zone: str) -> CloudError:
    details = {key: value for detail in error.details for key, value in detail.get("metadata", {}).items()}
    return translate(Complaint((error.reason,), error.message, details, error.code), Place(PROJECT, zone))
