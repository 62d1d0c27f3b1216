"""The emulated cloud: what exists, what is happening, and what happens next. It knows neither a clock nor HTTP.

Every method is told the time, and first lets happen what was due until then; `due` says when that will be next.
Instances walk PROVISIONING → STAGING → RUNNING → STOPPING → (TERMINATED | gone). What a guest must know (boot,
notice, shutdown, power off) is told to whoever `watches`; a guest that has ended says so with `guest_ended`.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from infra.emulator import asking, catalogue, complaints
from infra.emulator.complaints import ApiError, Failure, Json
from infra.emulator.defaults import completed
from infra.emulator.faults import Faults, Turns, UnknownFault
from infra.emulator.model import SYSTEM, USER, Instance, Operation, Status, Turn
from infra.emulator.resources import region_of

KEPT_FOR: Final = 14 * 24 * 3600.0
"""Seconds that operations are remembered."""
PREEMPTED: Final = "compute.instances.preempted"
GUEST_TERMINATE: Final = "compute.instances.guestTerminate"
TIME_LIMIT: Final = {True: "compute.instances.deferredDelete", False: "compute.instances.deferredStop"}


@dataclass(frozen=True)
class Times:
    """How long things take, in seconds."""

    provisioning: float = 0.5
    staging: float = 0.5
    boot: float = 0.0
    """From RUNNING to the begin of the startup script."""
    stopping: float = 0.5
    """In STOPPING at least."""
    grace: float = 2.0
    """How long a guest may take to end once it is told to."""
    notice: float = 30.0
    """Between the notice of a preemption and the end, where the instance does not say otherwise."""


Watcher = Callable[[Instance, Turn], None]


class World:
    """All projects of the cloud."""

    def __init__(self, times: Times | None = None, seed: int = 0) -> None:
        self.times = times or Times()
        self.faults = Faults()
        self.now = 0.0
        self.inserts = 0
        """Requests for instances so far, whatever became of them."""
        self.has_guests = False
        """Whether somebody runs what the instances would run, and says when a guest has ended."""
        self._instances: dict[tuple[str, str, str], Instance] = {}
        self._operations: dict[tuple[str, str, str], Operation] = {}
        self.templates: dict[tuple[str, str], Json] = {}
        """Instance templates, by project and name; `infra.emulator.templates` looks after them."""
        self._requests: dict[tuple[str, str, str], Operation] = {}
        self._plan: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._random = random.Random(seed)
        self._watchers: list[Watcher] = []
        self._milestones: dict[int, list[Callable[[], None]]] = {}

    # Time

    def advance(self, now: float) -> None:
        """Let happen, in order and each at its own time, what was due until now."""
        while self._plan and self._plan[0][0] <= now:
            when, _, happen = heapq.heappop(self._plan)
            self.now = max(self.now, when)
            happen()
        self.now = max(self.now, now)

    @property
    def due(self) -> float | None:
        """When something happens next by itself."""
        return self._plan[0][0] if self._plan else None

    def watch(self, watcher: Watcher) -> None:
        """Tell it of every turn that an instance takes."""
        self._watchers.append(watcher)

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Plan something."""
        heapq.heappush(self._plan, (when, next(self._numbers), happen))

    def after_inserts(self, count: int, happen: Callable[[], None]) -> None:
        """Do it when so many instances have been asked for."""
        self._milestones.setdefault(count, []).append(happen)

    # Looking

    def instances(self, project: str | None = None, zone: str | None = None) -> list[Instance]:
        """By zone and name."""
        found = (
            it
            for it in self._instances.values()
            if (project is None or it.project == project) and (zone is None or it.zone == zone)
        )
        return sorted(found, key=lambda it: it.key)

    def instance(self, project: str, zone: str, name: str) -> Instance:
        """Raises ApiError 404."""
        found = self._instances.get((project, zone, name))
        if found is None:
            raise complaints.not_found(f"projects/{project}/zones/{zone}/instances/{name}")
        return found

    def named(self, name: str) -> Instance:
        """The instance of that name, wherever it is. Raises UnknownFault."""
        for it in self._instances.values():
            if it.name == name:
                return it
        raise UnknownFault(f"there is no instance {name}")

    def operations(self, project: str, scope: str | None = None) -> list[Operation]:
        """Oldest first."""
        return [
            it for it in self._operations.values() if it.project == project and (scope is None or it.scope == scope)
        ]

    def operation(self, project: str, scope: str, name: str) -> Operation:
        """By name or number. Raises ApiError 404."""
        found = self._operations.get((project, scope, name))
        if found is None and name.isdecimal():
            found = next((it for it in self.operations(project, scope) if str(it.id) == name), None)
        if found is None:
            raise complaints.not_found(f"projects/{project}/{scope}/operations/{name}")
        return found

    def usage(self, project: str) -> dict[tuple[str, str], float]:
        """What is used of each quota, by region (empty: all of them) and metric."""
        used: dict[tuple[str, str], float] = {}
        for it in self._instances.values():
            if it.project == project and it.status is not Status.TERMINATED:
                for key, amount in _counts(it).items():
                    used[key] = used.get(key, 0.0) + amount
        return used

    # Changing

    def insert(
        self, project: str, zone: str, body: Json, now: float, request_id: str = "", group: str | None = None
    ) -> Operation:
        """Ask for one instance. Raises ApiError; that there is none to be had is told by the operation."""
        self.advance(now)
        known = self.known(project, request_id, f"insert zones/{zone}")
        if known is not None:
            return known
        asking.check(project, zone, body)
        key = (project, zone, str(body["name"]))
        if key in self._instances:
            raise complaints.already_exists(f"projects/{project}/zones/{zone}/instances/{body['name']}")
        self.inserts += 1
        number = next(self._numbers)
        address = f"127.88.{number // 250 % 250}.{number % 250 + 1}"
        identity = self._identity()
        operation = self._operation(project, f"zones/{zone}", "insert", f"zones/{zone}/instances/{key[2]}", identity)
        operation.group = group
        asked = completed(project, zone, key[2], body, address)
        instance = Instance(
            identity,
            *key,
            asked,
            address,
            now,
            operation,
            labels={k: str(v) for k, v in body.get("labels", {}).items()},
        )
        failure = self._shortage(instance)
        self._instances[key] = instance
        self.remember(project, request_id, f"insert zones/{zone}", operation)
        instance.never_boots = failure is None and self.faults.no_boot.take(now)
        instance.extra_boot = self.faults.slow_boot_seconds if self.faults.slow_boot.take(now) else 0.0
        if failure is not None:
            self._later(instance, self.times.provisioning, partial(self._cannot, instance, failure))
        else:
            self._later(instance, self.times.provisioning, partial(self._stage, instance))
        for happen in self._milestones.pop(self.inserts, []):
            happen()
        return operation

    def delete(self, project: str, zone: str, name: str, now: float, request_id: str = "") -> Operation:
        """Raises ApiError."""
        self.advance(now)
        known = self.known(project, request_id, f"delete {zone}/{name}")
        if known is not None:
            return known
        instance = self.instance(project, zone, name)
        if self.faults.failing_deletes_http.take(now):
            raise complaints.unavailable()
        operation = self._operation_on(instance, "delete")
        self.remember(project, request_id, f"delete {zone}/{name}", operation)
        if self.faults.failing_deletes.take(now):
            self.at(now + self.times.stopping, partial(self.finish, operation, complaints.internal_error()))
        else:
            self._stop(instance, Status.GONE, operation)
        return operation

    def stop(self, project: str, zone: str, name: str, now: float, request_id: str = "") -> Operation:
        """Raises ApiError."""
        self.advance(now)
        known = self.known(project, request_id, f"stop {zone}/{name}")
        if known is not None:
            return known
        instance = self.instance(project, zone, name)
        operation = self._operation_on(instance, "stop")
        self.remember(project, request_id, f"stop {zone}/{name}", operation)
        if instance.status is Status.TERMINATED:
            self.finish(operation)
        else:
            self._stop(instance, Status.TERMINATED, operation)
        return operation

    def set_labels(self, project: str, zone: str, name: str, body: Json, now: float, request_id: str = "") -> Operation:
        """Replace all labels; the fingerprint must be the one of those that are replaced. Raises ApiError."""
        self.advance(now)
        known = self.known(project, request_id, f"setLabels {zone}/{name}")
        if known is not None:
            return known
        instance = self.instance(project, zone, name)
        asking.check_labels(body.get("labels", {}))
        if body.get("labelFingerprint") != instance.resource.content["labelFingerprint"]:
            raise ApiError(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
        instance.labels = {key: str(value) for key, value in body.get("labels", {}).items()}
        instance.changed()
        operation = self._operation_on(instance, "setLabels")
        self.remember(project, request_id, f"setLabels {zone}/{name}", operation)
        self.finish(operation)
        return operation

    def simulate_maintenance(self, project: str, zone: str, name: str, now: float) -> Operation:
        """Preempts a spot instance; others are moved, and nobody sees anything of it."""
        self.advance(now)
        instance = self.instance(project, zone, name)
        if instance.status is not Status.RUNNING:
            raise ApiError(400, "resourceNotReady", f"The resource '{_full(instance)}' is not ready")
        operation = self._operation_on(instance, "simulateMaintenanceEvent")
        if instance.spot:
            given = instance.seconds("preemptionNoticeDuration")
            self.preempt(instance, self.times.notice if given is None else given, now)
        self.finish(operation)
        return operation

    def preempt(self, instance: Instance, notice: float | None, now: float) -> None:
        """Take a spot instance away: `notice` seconds after its metadata server said so; None: at once and unasked.

        Raises UnknownFault for one that is not spot, or is going already.
        """
        self.advance(now)
        if not instance.spot:
            raise UnknownFault(f"{instance.name} is not a spot instance: the cloud never takes it away")
        if instance.status in (Status.STOPPING, Status.TERMINATED):
            raise UnknownFault(f"{instance.name} is {instance.status} already")
        until = Status.GONE if instance.deletes_itself else Status.TERMINATED
        instance.preempted = True
        if notice is None:
            self.finish(instance.insertion)
            self.finish(self._operation_on(instance, PREEMPTED, SYSTEM))
            instance.until = until
            self._end(instance)
        elif instance.status is Status.RUNNING:
            self._tell(instance, Turn.NOTICE)
            self._later(instance, notice, partial(self._system_stop, instance, until, PREEMPTED), replaces=False)
        else:
            self._system_stop(instance, until, PREEMPTED)

    def power_off(self, instance: Instance, now: float) -> None:
        """The guest shuts itself down: the instance stays, TERMINATED, until somebody deletes it.

        One that has its notice only makes room sooner: it ends as every preempted one does.
        """
        self.advance(now)
        if instance.status is not Status.RUNNING:
            return
        if instance.preempted:
            until = Status.GONE if instance.deletes_itself else Status.TERMINATED
            self._system_stop(instance, until, PREEMPTED)
        else:
            self._system_stop(instance, Status.TERMINATED, GUEST_TERMINATE)

    def guest_ended(self, instance: Instance, now: float) -> None:
        """Nothing of the guest is left."""
        self.advance(now)
        instance.guest_ended = True
        if instance.status is Status.STOPPING:
            self._later(instance, self.times.stopping, partial(self._end, instance), since=instance.stopped)

    # Operations

    def begin(self, project: str, scope: str, kind: str, target: str, user: str = USER) -> Operation:
        """A new operation on something that has no number yet; whoever begins it finishes it."""
        return self._operation(project, scope, kind, target, self._identity(), user)

    def finish(self, operation: Operation, failure: Failure | None = None) -> None:
        """It is done, unless it was done already."""
        if not operation.done:
            operation.ended, operation.failure = self.now, failure

    def known(self, project: str, request_id: str, what: str) -> Operation | None:
        """The operation that an earlier request of the same id began."""
        return self._requests.get((project, request_id, what)) if request_id else None

    def remember(self, project: str, request_id: str, what: str, operation: Operation) -> None:
        """That this request began that operation."""
        if request_id:
            self._requests[project, request_id, what] = operation

    # Trouble

    def order(self, order: Mapping[str, Any], now: float) -> None:
        """Carry out or begin one trouble. Raises UnknownFault."""
        self.advance(now)
        if order.get("fault") != "preempt":
            self.faults.order(order, now)
            return
        unknown = set(order) - {"fault", "name", "all", "notice"}
        if unknown or not (order.get("name") or order.get("all")):
            raise UnknownFault("preempt takes name or all, and notice: seconds, or null for none")
        notice = order.get("notice", self.times.notice)
        seconds = None if notice is None else float(notice)
        if order.get("all"):
            for instance in self.instances():
                if instance.spot and instance.status in (Status.PROVISIONING, Status.STAGING, Status.RUNNING):
                    self.preempt(instance, seconds, now)
        else:
            self.preempt(self.named(str(order["name"])), seconds, now)

    def unreachable(self, zone: str) -> bool:
        turns: Turns | None = self.faults.unreachable.get(zone)
        return turns is not None and turns.left(self.now)

    # The walk

    def _stage(self, instance: Instance) -> None:
        self._become(instance, Status.STAGING)
        if instance.spot and self.faults.preempt_early.take(self.now):
            self.preempt(instance, 0.0, self.now)
        else:
            self._later(instance, self.times.staging, partial(self._run, instance))

    def _run(self, instance: Instance) -> None:
        instance.started = self.now
        self._become(instance, Status.RUNNING)
        self.finish(instance.insertion)
        longest = instance.seconds("maxRunDuration")
        if longest is not None:
            deletes = instance.deletes_itself
            until = Status.GONE if deletes else Status.TERMINATED
            end = partial(self._system_stop, instance, until, TIME_LIMIT[deletes])
            self._later(instance, longest, end, replaces=False)
        if not instance.never_boots:
            delay = self.times.boot + instance.extra_boot
            self._later(instance, delay, partial(self._boot, instance), replaces=False)

    def _boot(self, instance: Instance) -> None:
        if not instance.booted:
            instance.booted = True
            instance.guest_ended = not self.has_guests
            self._tell(instance, Turn.BOOT)

    def _system_stop(self, instance: Instance, until: Status, kind: str) -> None:
        self._stop(instance, until, self._operation_on(instance, kind, SYSTEM))

    def _stop(self, instance: Instance, until: Status, operation: Operation) -> None:
        """Tell the guest to end, and end it when its time is up."""
        instance.endings.append(operation)
        if instance.status is Status.STOPPING:
            # A deletion on top of a stop is a deletion.
            instance.until = Status.GONE if until is Status.GONE else instance.until
            return
        self.finish(instance.insertion)
        instance.until, instance.stopped = until, self.now
        self._become(instance, Status.STOPPING)
        patience = self.times.stopping if instance.guest_ended else max(self.times.stopping, self.times.grace)
        self._later(instance, patience, partial(self._end, instance))
        if not instance.guest_ended:
            self._tell(instance, Turn.SHUTDOWN)

    def _end(self, instance: Instance) -> None:
        self._tell(instance, Turn.POWER_OFF)
        instance.guest_ended = True
        if instance.until is Status.GONE:
            del self._instances[instance.key]
        instance.stopped = self.now
        self._become(instance, instance.until)
        for operation in instance.endings:
            self.finish(operation)
        instance.endings.clear()
        if instance.status is Status.GONE:
            self._tell(instance, Turn.GONE)

    def _cannot(self, instance: Instance, failure: Failure) -> None:
        """There is no host for it, or it would be one too many: it vanishes, and its operation tells why."""
        self.finish(instance.insertion, failure)
        instance.until = Status.GONE
        self._end(instance)

    def _become(self, instance: Instance, status: Status) -> None:
        instance.status = status
        instance.walk += 1
        instance.changed()

    def _later(
        self,
        instance: Instance,
        seconds: float,
        happen: Callable[[], None],
        since: float | None = None,
        replaces: bool = True,
    ) -> None:
        """Plan it for the instance, unless it changes its state before. `replaces`: it is the only next step."""
        if replaces:
            instance.walk += 1
        walk = instance.walk
        begin = self.now if since is None else since
        self.at(max(begin + seconds, self.now), lambda: happen() if instance.walk == walk else None)

    def _tell(self, instance: Instance, turn: Turn) -> None:
        for watcher in self._watchers:
            watcher(instance, turn)

    # What is short

    def _shortage(self, instance: Instance) -> Failure | None:
        """Why it cannot be had at the moment: quotas first, as in the real one."""
        used = self.usage(instance.project)
        for (region, metric), amount in _counts(instance).items():
            limit = self.faults.limit(region, metric)
            if limit is not None and used.get((region, metric), 0.0) + amount > limit:
                return complaints.quota_exceeded(metric, limit, region or None)
        dry = self.faults.stockout(instance.zone, self.now)
        if dry is None:
            return None
        gpu, count = instance.gpus if "guestAccelerators" in instance.asked else ("", 0)
        attached = f"{gpu}:{count}" if gpu else ""
        return complaints.stockout(instance.project, instance.zone, instance.machine_type.name, attached, dry.elsewhere)

    # New operations

    def _operation_on(self, instance: Instance, kind: str, user: str = USER) -> Operation:
        return self._operation(instance.project, f"zones/{instance.zone}", kind, instance.path, instance.id, user)

    def _operation(
        self, project: str, scope: str, kind: str, target: str, target_id: int, user: str = USER
    ) -> Operation:
        parts = (self._random.getrandbits(52), self._random.getrandbits(32), self._random.getrandbits(32))
        name = f"{'systemevent' if user == SYSTEM else 'operation'}-{int(self.now * 1000)}-"
        name += f"{parts[0]:013x}-{parts[1]:08x}-{parts[2]:08x}"
        operation = Operation(self._identity(), name, project, scope, kind, target, target_id, self.now, user)
        self._operations[project, scope, name] = operation
        self._forget()
        return operation

    def _forget(self) -> None:
        """Operations that are too old; they lie in the order of their begin."""
        old: Iterable[Any] = itertools.takewhile(
            lambda entry: entry[1].done and entry[1].inserted < self.now - KEPT_FOR, self._operations.items()
        )
        for key, _ in list(old):
            del self._operations[key]

    def _identity(self) -> int:
        return 10**18 + next(self._numbers) * 1_000_003 + self._random.randrange(1_000_003)


def _counts(instance: Instance) -> dict[tuple[str, str], float]:
    """What it uses of which quota, by region and metric."""
    region = region_of(instance.zone)
    counts = {(region, metric): amount for metric, amount in instance.usage().items()}
    gpus = instance.gpus[1]
    return counts | ({("", catalogue.ALL_GPUS): float(gpus)} if gpus else {})


def _full(instance: Instance) -> str:
    return f"projects/{instance.project}/{instance.path}"
