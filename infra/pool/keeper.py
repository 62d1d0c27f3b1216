"""Keeps the machines of one life of the pool: looks, decides, acts, one step at a time.

Every step may be repeated, and may be taken over by another process at any point. What is to be done stands in the
ledger before it is done: a row that is REQUESTED and was never accepted is ordered (again, with the same request id,
which makes one machine of it); a row that is STOPPING and still listed is given back (again). So a keeper that was
killed leaves nothing but rows, and its successor goes on from them.
"""

import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, Protocol

from infra.machines.errors import CloudError, NotThere, Permanent, QuotaReached, Refused, Stockout, Temporary
from infra.machines.spec import Departure, Gpu, Instance, Listing, MachineSpec, Operation, Order, Outcome
from infra.pool import reconcile
from infra.pool.bill import spent
from infra.pool.books import as_past, as_rented, recipe_of, work_of
from infra.pool.plan import PoolPlan
from infra.pool.policy import Decision, Held, Limits, Return, Stage, decide
from infra.pool.reconcile import Move, Question
from infra.pool.zones import Zone
from infra.records import IllegalMove, Ledger
from infra.records.tables import Life, Machine
from infra.states import MachineEnd, MachineState

DAY = timedelta(hours=24)
FIRST_BOOT_GUESS = 75.0
"""Seconds from a request to the check-in, until a machine has shown how long it takes."""
ASK_AGAIN = timedelta(seconds=15)
"""Between two requests to give the same machine back."""
WATCHDOG = 3
"""A machine that nobody gives back powers itself off after so many idle windows."""
SAY_AGAIN = timedelta(minutes=5)
"""The same complaint is not said again while it lasts, nor when it comes back within that time."""
RECIPE = "recipe"
"""Detail of a machine: what it was made by."""
SILENT = "The cloud cannot be asked which machines there are"
UNKNOWN = "The cloud cannot be asked where such machines are offered"
ASKS_FOR = 10.0
"""Seconds of a step in which questions about single machines are asked; the others are asked in the next step."""
SENT_WITHIN = 30.0
"""Seconds after which an order that still waits for its turn is not sent any more: it counts as sent since it began
to wait, and `reconcile.IN_DOUBT_FOR` is about that moment."""
CONSOLE_LINES = 5
"""Of a machine that did not come up are quoted; lines that say the same count once."""
GIVES_UP_AT_ONCE = (Stockout, QuotaReached, Refused)

_VARIES = re.compile(r"\(Code: '[^']*'\)")
"""Part of what Compute Engine says that is another one each time."""

Say = Callable[[str], None]


class Cloud(Protocol):
    """What the keeper needs of Compute Engine; `infra.machines.cloud.Cloud` has it. May raise CloudError."""

    def rent(self, spec: MachineSpec, order: Order) -> Operation: ...
    def outcome(self, operation: Operation) -> Outcome: ...
    def listing(self, pool: str) -> Listing: ...
    def instance(self, name: str, zone: str) -> Instance | None: ...
    def give_back(self, name: str, zone: str) -> Operation | None: ...
    def why_gone(self, name: str, zone: str) -> Departure: ...
    def console(self, name: str, zone: str) -> str: ...


class Hub(Protocol):
    """What the keeper needs of the pool's scheduler and registrar; `infra.pool.hub.Hub` has it."""

    def metadata(self) -> Mapping[str, str]: ...
    def expect(self, name: str, zone: str) -> None: ...
    def forget(self, name: str) -> None: ...
    def refusal(self, name: str) -> str: ...
    def at_work(self) -> Mapping[str, bool] | None: ...


@dataclass(frozen=True)
class Market:
    """What is rented, where, and what it costs there."""

    spec: MachineSpec
    pool: str
    zones: tuple[Zone, ...]
    """With the price as rented: spot or on demand."""
    on_demand: Mapping[str, float]
    """By zone, what the same machine costs on demand."""
    gpu: Gpu | None
    """What one machine has, attached or brought by its type."""
    unknown: CloudError | None = None
    """Why the cloud could not say where such machines are offered; nothing is rented until it can."""


@dataclass
class Keeper:
    """Keeps the machines of one life. `threads` carry out what costs time, so that no step waits for the cloud."""

    ledger: Ledger
    life: Life
    plan: PoolPlan
    market: Market
    cloud: Cloud
    hub: Hub
    threads: Executor
    say: Say
    pause: timedelta = timedelta(seconds=30)
    """After a first stockout."""
    clock: Callable[[], float] = time.monotonic
    """For how long questions and orders take; everything else goes by the `now` of the step."""
    _busy: dict[str, "Future[Any]"] = field(default_factory=dict)
    _not_before: dict[str, datetime] = field(default_factory=dict)
    _idle_since: dict[str, datetime] = field(default_factory=dict)
    _missed_since: dict[str, datetime] = field(default_factory=dict)
    _strangers: dict[str, datetime] = field(default_factory=dict)
    _at_work: Mapping[str, bool] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    """The zone of each machine that was not gone when the ledger was last asked."""
    _put_off: list[str] = field(default_factory=list)
    """Machines about which there was no time to ask; who has waited longest comes first."""
    _asks_until: float = 0.0
    """On the clock."""
    _complaints: dict[str, datetime] = field(default_factory=dict)
    """When each was last heard."""

    def step(self, now: datetime) -> None:
        """Look at everything once, and do what is due. A cloud that does not answer costs a step, nothing else."""
        seen = self._look(now)
        if seen is None:
            return
        listing, at_work, machines = seen
        history, recipe = self.ledger.machines_since(now - DAY), self._recipe()
        alike = [machine for machine in history if machine.details.get(RECIPE, recipe) == recipe]
        decision = decide(
            work_of(self.ledger),
            [self._held(machine, at_work, now) for machine in machines],
            self.market.zones,
            list(map(as_past, alike)),
            self._limits(history),
            spent(list(map(as_rented, history)), now - DAY, now),
            now,
        )
        if decision.waits and self.market.unknown is not None:
            for_good = decision.for_good and isinstance(self.market.unknown, Permanent)
            decision = replace(decision, waits=f"{UNKNOWN}: {self.market.unknown}", for_good=for_good)
        self._write(decision, machines, now)
        self._act(listing, now)

    def close_step(self, now: datetime) -> bool:
        """Give everything back, once; whether everything is gone. Call it until it is: the life must be CLOSING."""
        seen = self._look(now)
        if seen is None:
            return False
        listing, _, machines = seen
        for machine in machines:
            self._stop(machine, Return(machine.name, MachineEnd.POOL_CLOSED, "The life of its pool ended."), now)
        self._act(listing, now)
        return not machines and not self._busy and not self._ours(listing)

    def idle_window(self) -> timedelta:
        """As the plan says; `auto` follows from how long machines took to boot."""
        return self._limits(self.ledger.machines_since(datetime.now(UTC) - DAY)).idle_window

    def works(self) -> bool:
        """Whether some machine had work when the scheduler was last asked."""
        return any(self._at_work.values())

    def clear_cloud(self) -> None:
        """Give back what is there of this life without asking the ledger, which may be out of reach.

        That is what the cloud lists, and what this keeper knew: a listing may be late, and labels may be lost.
        Raises CloudError, after everything else was given back.
        """
        trouble: CloudError | None = None
        there = {**self._known}
        try:
            there |= {i.name: i.zone for i in self._ours(self.cloud.listing(self.market.pool))}
        except CloudError as error:
            trouble = error
        for name, zone in there.items():
            try:
                self.cloud.give_back(name, zone)
            except CloudError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    def _ours(self, listing: Listing) -> list[Instance]:
        life, prefix = str(self.life.id), prefix_of(self.life)
        return [
            i for i in listing.instances.values() if i.labels.get("spotlift-life") == life or i.name.startswith(prefix)
        ]

    # Look

    def _look(self, now: datetime) -> tuple[Listing, Mapping[str, bool], list[Machine]] | None:
        """What cloud, scheduler and ledger say, with the ledger brought in step; None if the cloud does not answer."""
        self._collect(now)
        try:
            listing = self.cloud.listing(self.market.pool)
        except CloudError as error:
            self._complain(f"{SILENT}: {error}", now)
            self.ledger.pool_waits(self.life.id, f"{SILENT}: {error}", now, for_good=isinstance(error, Permanent))
            return None
        there = {**listing.instances}
        listing = replace(listing, instances=there)
        said = self.hub.at_work()
        self._at_work = at_work = self._at_work if said is None else said
        self._asks_until = self.clock() + ASKS_FOR
        rows = self.ledger.machines(self.life.id, open_only=True)
        machines = []
        waiting = {name: place for place, name in enumerate(self._put_off)}
        self._put_off = []
        for machine in sorted(rows, key=lambda row: waiting.get(row.name, len(waiting))):
            row = self._reconcile(machine, listing, there, now)
            row = self._check_in(row, at_work, now)
            if row.state is not MachineState.TERMINATED:
                machines.append(row)
        machines.sort(key=lambda row: row.id)
        self._known = {row.name: row.zone for row in machines}
        for name in reconcile.departed(list(at_work), machines, listing):
            self.hub.forget(name)
        self._give_back_strangers(listing, now)
        return listing, at_work, machines

    def _reconcile(self, machine: Machine, listing: Listing, there: dict[str, Instance], now: datetime) -> Machine:
        """Bring one row in step with the listing, after asking what else must be known.

        A machine that is missing in the listing is asked for by its name before it counts as gone: a listing may be
        late, and a machine may have lost its label. One that is there is added to `there`, which the listing shows.
        A cloud that is slow, or in trouble, is not asked for long: the rest waits for the next step.
        """
        outcome, departure = None, None
        asked = reconcile.question(machine, listing)
        if (asked is not None or machine.name not in there) and self._has_no_time():
            self._put_off.append(machine.name)
            return machine
        try:
            if asked is Question.OUTCOME and machine.operation is not None:
                outcome = self._outcome(machine, machine.operation, now)
            created = outcome is not None and outcome.done and outcome.error is None
            if asked is Question.DEPARTURE or (created and machine.state is not MachineState.REQUESTED):
                departure = self._departure(machine)
            move = reconcile.move(machine, listing, outcome, departure, now)
            if move is not None and move.to is MachineState.TERMINATED and (found := self._by_name(machine)):
                there[machine.name] = found
                move = reconcile.move(machine, listing, None, departure, now)
        except Temporary as error:
            self._complain(f"The cloud cannot be asked about machine {machine.name}: {error}", now)
            self._asks_until = self.clock()  # the others would wait for nothing
            return machine
        return machine if move is None else self._apply(move, now)

    def _has_no_time(self) -> bool:
        """Whether enough was asked in this step."""
        return self.clock() >= self._asks_until

    def _by_name(self, machine: Machine) -> Instance | None:
        try:
            return self.cloud.instance(machine.name, machine.zone)
        except Permanent:  # we may not ask
            return None

    def _outcome(self, machine: Machine, operation: str, now: datetime) -> Outcome:
        try:
            return self.cloud.outcome(Operation(operation, machine.zone))
        except NotThere:  # it was so long ago that the cloud has forgotten it
            return Outcome(done=True)
        except Permanent as error:  # we may not ask
            self._complain(f"It is not known why machines cannot be created: {error}", now)
            return Outcome(done=True)

    def _departure(self, machine: Machine) -> Departure:
        try:
            return self.cloud.why_gone(machine.name, machine.zone)
        except Permanent:  # we may not ask
            return Departure.UNKNOWN

    def _apply(self, move: Move, now: datetime) -> Machine:
        machine, end, reason = move.machine, move.end, move.reason
        if end in (MachineEnd.STOPPED_ITSELF, MachineEnd.LOST) and machine.checked_in_at is None:
            end, reason = MachineEnd.BOOT_FAILED, self._why_no_boot(machine, reason)
        row = self.ledger.move_machine(
            machine.id, move.to, now, end=end, reason=reason, details=dict(move.details or {})
        )
        if row.state is MachineState.TERMINATED:
            for memory in (self._idle_since, self._missed_since, self._not_before):
                memory.pop(row.name, None)
            self.hub.forget(row.name)
            self.say(f"machine {row.name} is gone ({row.end}). {row.reason}".strip())
        elif end is not None:
            self.say(f"machine {row.name} is {row.state} ({end}). {reason}".strip())
        return row

    def _why_no_boot(self, machine: Machine, reason: str) -> str:
        if refused := self.hub.refusal(machine.name):
            return refused
        if self._has_no_time():
            return reason
        try:
            console = self.cloud.console(machine.name, machine.zone).strip()
        except CloudError:
            console = ""
        last = " ⏎ ".join([*dict.fromkeys(console.splitlines())][-CONSOLE_LINES:])
        return f"{reason} Its console ends: {last}" if last else reason

    def _check_in(self, machine: Machine, at_work: Mapping[str, bool], now: datetime) -> Machine:
        """Note that a machine has joined the scheduler, and since when it is idle or missed."""
        name = machine.name
        if name not in at_work:
            self._idle_since.pop(name, None)
            if machine.checked_in_at is not None:
                self._missed_since.setdefault(name, now)
            return machine
        self._missed_since.pop(name, None)
        if at_work[name]:
            self._idle_since.pop(name, None)
        else:
            self._idle_since.setdefault(name, now)
        if machine.checked_in_at is None:
            machine = self.ledger.check_in(name, now)
            took = (now - machine.requested_at).total_seconds()
            self.say(f"machine {name} checked in {took:.0f} s after it was asked for")
        return machine

    def _give_back_strangers(self, listing: Listing, now: datetime) -> None:
        """Machines with our label that no open row knows go after a grace time: nobody needs them, and they cost."""
        known = {machine.name for machine in self.ledger.machines(open_only=True)}
        strangers = reconcile.unknown(listing, known)
        self._strangers = {i.name: self._strangers.get(i.name, now) for i in strangers}
        for instance in strangers:
            due = now - self._strangers[instance.name] >= reconcile.ORPHAN_GRACE
            if due and instance.status != "STOPPING" and self._may_ask(instance.name, now):
                self.ledger.found_orphan(self.life.id, instance.name, instance.zone, now)
                self.say(f"machine {instance.name} carries our label and no row knows it: it is given back")
                self._give_back(instance.name, instance.zone, now)

    # Decide

    def _held(self, machine: Machine, at_work: Mapping[str, bool], now: datetime) -> Held:
        name, since = machine.name, None
        if machine.state is MachineState.STOPPING:
            stage = Stage.LEAVING
        elif name in at_work:
            stage, since = Stage.SERVING, self._idle_since.get(name)
        elif machine.checked_in_at is not None:
            stage, since = Stage.MISSED, self._missed_since.get(name, now)
        else:
            stage = Stage.COMING
        refused = self.hub.refusal(name) if stage is Stage.COMING else ""
        return Held(name, machine.zone, stage, machine.requested_at, machine.price_per_hour, since, refused)

    def _limits(self, history: Sequence[Machine]) -> Limits:
        boots = [
            (machine.checked_in_at - machine.requested_at).total_seconds()
            for machine in history[-50:]
            if machine.checked_in_at is not None
        ]
        boot_seconds = median(boots[-10:]) if boots else FIRST_BOOT_GUESS
        plan = self.plan
        return Limits(
            maximum=plan.machines,
            least=plan.least_machines,
            gpus=self.market.gpu.count if self.market.gpu else 1,
            idle_window=plan.idle(boot_seconds),
            boot_deadline=timedelta(seconds=plan.boot_deadline),
            boot_seconds=boot_seconds,
            budget_per_hour=plan.budget_per_hour,
            budget_per_day=plan.budget_per_day,
            pause=self.pause,
        )

    # Act

    def _write(self, decision: Decision, machines: Sequence[Machine], now: datetime) -> None:
        """Write what was decided into the ledger; `_act` does what stands there."""
        rows = {machine.name: machine for machine in machines}
        for returned in decision.give_back:
            self._stop(rows[returned.name], returned, now)
        for zone in decision.rent:
            self._order(zone, now)
        if decision.waits:
            self._complain(decision.waits, now)
        self.ledger.pool_waits(self.life.id, decision.waits, now, for_good=decision.for_good)

    def _stop(self, machine: Machine, returned: Return, now: datetime) -> None:
        if machine.state is MachineState.STOPPING:
            return
        reason = returned.reason
        if returned.end is MachineEnd.BOOT_FAILED:
            reason = self._why_no_boot(machine, reason)
        self.ledger.move_machine(machine.id, MachineState.STOPPING, now, end=returned.end, reason=reason)
        self.say(f"machine {machine.name} is given back ({returned.end}). {reason}".strip())

    def _order(self, zone: str, now: datetime) -> None:
        """The row of one more machine, before the call that costs money."""
        spec, gpu = self.market.spec, self.market.gpu
        machine = self.ledger.rent(
            self.life.id,
            self.plan.machines,
            name=f"{prefix_of(self.life)}{len(self.ledger.machines(self.life.id)) + 1}",
            zone=zone,
            machine_type=spec.machine_type,
            gpu=gpu.type if gpu else None,
            gpus=gpu.count if gpu else 0,
            spot=spec.spot,
            price_per_hour=next(z.price for z in self.market.zones if z.name == zone),
            on_demand_per_hour=self.market.on_demand.get(zone),
            request_id=str(uuid.uuid4()),
            details={RECIPE: self._recipe()},
            now=now,
        )
        if machine is not None:
            self.say(f"machine {machine.name} is asked for in {zone}")

    def _act(self, listing: Listing, now: datetime) -> None:
        """Order what is REQUESTED and give back what is STOPPING, unless that is being done already."""
        for machine in self.ledger.machines(self.life.id, open_only=True):
            if machine.name in self._busy or not self._may_ask(machine.name, now):
                continue
            instance = listing.instances.get(machine.name)
            if machine.state is MachineState.REQUESTED and machine.operation is None and instance is None:
                if not reconcile.may_order(machine, now) or self.market.unknown is not None:
                    continue
                if not self._as_planned(machine):  # a keeper with another plan has left it
                    self._stop(machine, Return(machine.name, MachineEnd.SURPLUS, "The plan has changed."), now)
                    continue
                self.hub.expect(machine.name, machine.zone)
                self.ledger.order_is_sent(machine.id, now)
                self._known[machine.name] = machine.zone
                self._busy[machine.name] = self.threads.submit(self._rent, self._for(machine), self.clock())
            elif machine.state is MachineState.STOPPING and instance is not None and instance.status != "STOPPING":
                self._give_back(machine.name, machine.zone, now)

    def _rent(self, order: Order, since: float) -> Operation:
        if self.clock() - since > SENT_WITHIN:
            raise Temporary("Too many other requests were waiting; it was not sent.")
        return self.cloud.rent(self.market.spec, order)

    def _as_planned(self, machine: Machine) -> bool:
        offered = machine.zone in {zone.name for zone in self.market.zones}
        return offered and machine.details.get(RECIPE) == self._recipe()

    def _recipe(self) -> str:
        return recipe_of(self.market.spec, self.hub.metadata())

    def _give_back(self, name: str, zone: str, now: datetime) -> None:
        self._not_before[name] = now + ASK_AGAIN
        self._busy[name] = self.threads.submit(self.cloud.give_back, name, zone)

    def _may_ask(self, name: str, now: datetime) -> bool:
        return name not in self._not_before or now >= self._not_before[name]

    def _for(self, machine: Machine) -> Order:
        labels = {
            "spotlift-pool": self.market.pool,
            "spotlift-life": str(self.life.id),
            "spotlift-machine": str(machine.id),
        }
        metadata = {
            **self.hub.metadata(),
            "spotlift-gpus": str(machine.gpus),
            "spotlift-idle-limit": f"{max(WATCHDOG * self.idle_window().total_seconds(), self.plan.boot_deadline):.0f}",
        }
        return Order(machine.name, machine.zone, machine.request_id, labels, metadata)

    def _collect(self, now: datetime) -> None:
        """Hear how those calls ended that have ended."""
        for name, call in [*self._busy.items()]:
            if not call.done():
                continue
            del self._busy[name]
            try:
                answer = call.result()
            except CloudError as error:
                self._failed(name, error, now)
                continue
            machine = self.ledger.find_machine(name)
            if machine is not None and machine.state is MachineState.REQUESTED and answer is not None:
                self.ledger.is_ordered(machine.id, answer.name, now)

    def _failed(self, name: str, error: CloudError, now: datetime) -> None:
        """A call failed: an order that cannot be is over, everything else is tried again after a while."""
        machine = self.ledger.find_machine(name)
        ordering = machine is not None and machine.state is MachineState.REQUESTED
        if ordering and machine is not None and isinstance(error, GIVES_UP_AT_ONCE):
            try:
                self._apply(reconcile.never_created(machine, error), now)
            except IllegalMove:  # it moved on meanwhile: there is one after all
                return
            return
        delay = error.delay if isinstance(error, Temporary) else ASK_AGAIN.total_seconds()
        self._not_before[name] = now + timedelta(seconds=delay)
        self._complain(f"machine {name} could not be {'ordered' if ordering else 'given back'} yet: {error}", now)

    def _complain(self, what: str, now: datetime) -> None:
        """Say what lasts only when it begins."""
        self._complaints = {said: at for said, at in self._complaints.items() if now - at < SAY_AGAIN}
        key = _VARIES.sub("", what)
        if key not in self._complaints:
            self.say(what)
        self._complaints[key] = now


def prefix_of(life: Life) -> str:
    """How the names of a life's machines begin; those of another ledger's life of the same number begin otherwise."""
    minutes = int(life.opened_at.astimezone(UTC).timestamp()) // 60
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    stamp = "".join(digits[minutes // 36**place % 36] for place in (3, 2, 1, 0))
    return f"spotlift-{life.id}-{stamp}-"
