"""The story of the pool: its lives, and the machines that are rented and given back in each."""

from datetime import datetime
from typing import Any

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.diary import Verbs, counted, get, note
from infra.records.errors import Refused, Unknown
from infra.records.tables import Attempt, Batch, Chunk, Event, Image, Life, Machine
from infra.records.values import WaitingWork
from infra.states import (
    OPEN_CHUNKS,
    AttemptEnd,
    BatchState,
    EventKind,
    LifeEnd,
    LifeState,
    MachineEnd,
    MachineState,
    check_move,
)

SENT = "sent_at"
"""Detail of a machine: when it was last asked for."""

_USABLE = (LifeState.OPENING, LifeState.OPEN)
_UNREAD = BatchState.ARRIVED
_WANTS_MACHINES = (BatchState.ARRIVED, BatchState.REGISTERED, BatchState.RUNNING)


class LifeVerbs(Verbs):
    """What can happen to a life of the pool."""

    def open_life(
        self, now: datetime, *, flow_run_id: str | None = None, details: dict[str, Any] | None = None
    ) -> Life | None:
        """OPENING. None when another life is OPENING or OPEN: close that one as REPLACED first."""
        with self._database.writing() as session:
            if _current(session) is not None:
                return None
            life = Life(state=LifeState.OPENING, flow_run_id=flow_run_id, opened_at=now, details=details or {})
            session.add(life)
            session.flush()
            _tell_life(session, life, now)
            return life

    def life_is_open(
        self, life_id: int, scheduler_address: str, now: datetime, details: dict[str, Any] | None = None
    ) -> Life:
        """OPEN: the scheduler listens at that address. `details` are added to those that are known."""
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            life.state = check_move(f"Life {life_id}", life.state, LifeState.OPEN)
            life.scheduler_address = scheduler_address
            life.details = {**life.details, **(details or {})}
            _tell_life(session, life, now, scheduler_address=scheduler_address)
            return life

    def life_knows(self, life_id: int, details: dict[str, Any]) -> Life:
        """Add details to those that are known; the life."""
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            life.details = {**life.details, **details}
            return life

    def close_life(self, life_id: int, end: LifeEnd, now: datetime) -> Life:
        """CLOSING: nothing is rented for it any more. Harmless when done twice; the first end stays."""
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            if life.state in _USABLE:
                life.state = check_move(f"Life {life_id}", life.state, LifeState.CLOSING)
                life.end = end
                _tell_life(session, life, now, end=end)
            return life

    def life_is_closed(self, life_id: int, now: datetime) -> Life:
        """CLOSED. Raises `Refused` while one of its machines is not TERMINATED. Harmless when done twice."""
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            if life.state is LifeState.CLOSED:
                return life
            left = _not_terminated(session, life_id)
            if left:
                raise Refused(f"Life {life_id} cannot be closed: {counted(left, 'machine')} not given back yet.")
            life.state = check_move(f"Life {life_id}", life.state, LifeState.CLOSED)
            life.closed_at = now
            _tell_life(session, life, now, end=life.end)
            return life

    def pool_waits(self, life_id: int, why: str, now: datetime, *, for_good: bool = False) -> None:
        """Remember why no more machines can be rented, and whether a person must act; nothing when all is well.

        The diary hears of it when it changes.
        """
        with self._database.reading() as session:  # this is told with every step, and seldom anything new
            if _waits(get(session, Life, life_id)) == (why, for_good):
                return
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            if _waits(life) == (why, for_good):
                return
            life.details = {**life.details, "waits": why, "for_good": for_good}
            if why:
                note(session, now, EventKind.POOL_WAITS, why, life, for_good=for_good)

    def found_orphan(self, life_id: int, name: str, zone: str, now: datetime) -> None:
        """Write down that a machine with our label, which no row knows, is given back."""
        with self._database.writing() as session:
            said = f"Machine {name} ({zone}) carries our label, and no row knows it: it is given back."
            note(session, now, EventKind.ORPHAN_FOUND, said, get(session, Life, life_id), name=name, zone=zone)

    def life(self, life_id: int) -> Life:
        """The life of that number; raises `Unknown`."""
        with self._database.reading() as session:
            return get(session, Life, life_id)

    def current_life(self) -> Life | None:
        """The life that is OPENING or OPEN, if there is one."""
        with self._database.reading() as session:
            return _current(session)

    def lives(self, *, open_only: bool = False) -> list[Life]:
        """All lives, or those that are not CLOSED, oldest first."""
        query = select(Life).order_by(col(Life.id))
        if open_only:
            query = query.where(col(Life.state) != LifeState.CLOSED)
        with self._database.reading() as session:
            return list(session.scalars(query))


class MachineVerbs(Verbs):
    """What can happen to a machine."""

    def rent(
        self,
        life_id: int,
        maximum: int,
        *,
        name: str,
        zone: str,
        machine_type: str,
        spot: bool,
        gpu: str | None = None,
        gpus: int = 0,
        price_per_hour: float | None = None,
        on_demand_per_hour: float | None = None,
        request_id: str = "",
        details: dict[str, Any] | None = None,
        now: datetime,
    ) -> Machine | None:
        """Write the row of a machine, REQUESTED, before the call that costs money.

        None when the life has `maximum` machines that are not TERMINATED, or is closing: then do not call.
        Raises `Refused` when the name was used before.
        """
        with self._database.writing() as session:
            life = get(session, Life, life_id)
            if life.state not in _USABLE or _not_terminated(session, life_id) >= maximum:
                return None
            if session.scalar(select(col(Machine.id)).where(col(Machine.name) == name)) is not None:
                raise Refused(f"There was a machine {name!r} before; give each machine a name of its own.")
            machine = Machine(
                life_id=life_id,
                name=name,
                zone=zone,
                machine_type=machine_type,
                gpu=gpu,
                gpus=gpus,
                spot=spot,
                price_per_hour=price_per_hour,
                on_demand_per_hour=on_demand_per_hour,
                request_id=request_id,
                state=MachineState.REQUESTED,
                requested_at=now,
                details=details or {},
            )
            session.add(machine)
            session.flush()
            said = f"Machine {name} ({machine_type}{', spot' if spot else ''}, {zone}) is requested."
            note(session, now, EventKind.MACHINE_REQUESTED, said, machine, state=machine.state)
            return machine

    def order_is_sent(self, machine_id: int, now: datetime) -> None:
        """Remember, before the call, that the cloud is asked for a machine: from now on there may be one."""
        with self._database.writing() as session:
            machine = get(session, Machine, machine_id)
            machine.details = {**machine.details, SENT: now.isoformat()}

    def is_ordered(self, machine_id: int, operation: str, now: datetime) -> Machine:
        """The cloud has accepted the order, and creates the machine in that operation."""
        with self._database.writing() as session:
            machine = get(session, Machine, machine_id)
            if machine.operation is None:
                machine.operation = operation
                said = f"The cloud has accepted the order of machine {machine.name}."
                note(session, now, EventKind.MACHINE_MOVED, said, machine, state=machine.state, operation=operation)
            return machine

    def move_machine(
        self,
        machine_id: int,
        to: MachineState,
        now: datetime,
        *,
        end: MachineEnd | None = None,
        reason: str = "",
        details: dict[str, Any] | None = None,
    ) -> Machine:
        """Note what the cloud says about a machine. Harmless when it says the same again.

        Why it ends is told with STOPPING or TERMINATED, `reason` in words; the first that is told stays. Attempts
        that lost a machine to a preemption are told so. Raises `IllegalMove`, and `Refused` when a machine would be
        TERMINATED without a reason.
        """
        with self._database.writing() as session:
            machine = get(session, Machine, machine_id)
            machine.details = {**machine.details, **(details or {})}
            if machine.state is to:
                return machine
            came_from = machine.state
            machine.state = check_move(f"Machine {machine.name}", came_from, to)
            if machine.end is None and end is not None:
                machine.end, machine.reason = end, reason
            if to is MachineState.RUNNING:
                machine.started_at = machine.started_at or now
            if to is MachineState.STOPPING:
                machine.stopping_at = now
            if to is MachineState.TERMINATED:
                if machine.end is None:
                    raise Refused(f"Machine {machine.name} cannot be TERMINATED without a reason.")
                machine.ended_at = now
            if machine.end is MachineEnd.PREEMPTED:
                _blame_the_preemption(session, machine)
            _tell_machine(session, machine, came_from, now)
            return machine

    def check_in(self, name: str, now: datetime) -> Machine:
        """The machine's worker reached the scheduler. Harmless when told again; raises `Unknown`."""
        with self._database.writing() as session:
            machine = _machine(session, name)
            if machine.checked_in_at is None:
                machine.checked_in_at = now
                said = f"Machine {name} is at work."
                note(session, now, EventKind.MACHINE_CHECKED_IN, said, machine, state=machine.state)
            return machine

    def machine(self, name: str) -> Machine:
        """The machine of that name; raises `Unknown`."""
        with self._database.reading() as session:
            return _machine(session, name)

    def find_machine(self, name: str) -> Machine | None:
        """The machine of that name, or None."""
        with self._database.reading() as session:
            return session.scalars(select(Machine).where(col(Machine.name) == name)).one_or_none()

    def machines_since(self, since: datetime) -> list[Machine]:
        """The machines of all lives that are not TERMINATED, or were so only after that moment; oldest first."""
        lasts = or_(col(Machine.ended_at).is_(None), col(Machine.ended_at) >= since)
        with self._database.reading() as session:
            # Sorted here: for the order's sake SQLite would look through all machines there ever were.
            return sorted(session.scalars(select(Machine).where(lasts)), key=lambda machine: machine.id)

    def waiting_work(self) -> list[WaitingWork]:
        """What the open batches still need, batch by batch; one that was not read yet needs nobody knows what."""
        wanting = select(col(Batch.id)).where(col(Batch.state).in_(_WANTS_MACHINES))
        chunks = (
            select(
                col(Chunk.batch_id), func.count().label("chunks"), func.sum(col(Chunk.pixels)).label("pixels")
            )
            .where(col(Chunk.state).in_(OPEN_CHUNKS), col(Chunk.batch_id).in_(wanting))
            .group_by(col(Chunk.batch_id))
            .subquery()
        )  # fmt: skip
        retried = (
            select(func.max(col(Event.at)))
            .where(col(Event.batch_id) == col(Batch.id), col(Event.kind) == EventKind.BATCH_RETRIED)
            .correlate(Batch)
            .scalar_subquery()
        )
        query = (
            select(Batch, chunks.c.chunks, chunks.c.pixels, case((col(Batch.round) > 1, retried)).label("retried_at"))
            .outerjoin(chunks, chunks.c.batch_id == col(Batch.id))
            .where(col(Batch.state).in_(_WANTS_MACHINES))
        )
        with self._database.reading() as session:
            return [
                WaitingWork(
                    batch.name, batch.model, batch.scale, int(count or 0), int(pixels or 0), batch.state is _UNREAD,
                    retried_at or batch.arrived_at, retried_at,
                )
                for batch, count, pixels, retried_at in session.execute(query)
            ]  # fmt: skip

    def worked_seconds(self, life_id: int) -> dict[str, float]:
        """How long each machine of a life worked on images that it finished."""
        names = select(col(Machine.name)).where(col(Machine.life_id) == life_id)
        query = (
            select(col(Image.machine), func.sum(col(Image.seconds)))
            .where(col(Image.machine).in_(names))
            .group_by(col(Image.machine))
        )
        with self._database.reading() as session:
            return {str(name): float(seconds or 0) for name, seconds in session.execute(query)}

    def lost_attempts(self, life_id: int) -> list[tuple[str, float]]:
        """For each attempt that lost a machine of this life: its name, and the seconds since its last image."""
        names = select(col(Machine.name)).where(col(Machine.life_id) == life_id)
        lost = col(Attempt.end).in_([AttemptEnd.MACHINE_LOST, AttemptEnd.PREEMPTED])
        last = (
            select(func.max(col(Image.finished_at)))
            .where(col(Image.chunk_id) == col(Attempt.chunk_id), col(Image.attempt) == col(Attempt.number))
            .correlate(Attempt)
            .scalar_subquery()
        )
        query = select(Attempt, last.label("last")).where(lost, col(Attempt.machine).in_(names))
        with self._database.reading() as session:
            found = session.execute(query).all()
        return [
            (str(attempt.machine), max(0.0, (attempt.ended_at - (last or attempt.opened_at)).total_seconds()))
            for attempt, last in found
            if attempt.ended_at is not None
        ]

    def machines(self, life_id: int | None = None, *, open_only: bool = False) -> list[Machine]:
        """The machines of one life or of all, all or those that are not TERMINATED, oldest first."""
        query = select(Machine).order_by(col(Machine.id))
        if life_id is not None:
            query = query.where(col(Machine.life_id) == life_id)
        if open_only:  # the moment is indexed: those that are gone become many, and are not looked through
            query = query.where(col(Machine.ended_at).is_(None))
        with self._database.reading() as session:
            return list(session.scalars(query))


def _waits(life: Life) -> tuple[str, bool]:
    return life.details.get("waits", ""), life.details.get("for_good", False)


def _current(session: Session) -> Life | None:
    return session.scalars(select(Life).where(col(Life.state).in_(_USABLE))).one_or_none()


def _not_terminated(session: Session, life_id: int) -> int:
    terminated = col(Machine.state) == MachineState.TERMINATED
    query = select(func.count()).select_from(Machine).where(col(Machine.life_id) == life_id, ~terminated)
    return session.scalar(query) or 0


def _machine(session: Session, name: str) -> Machine:
    machine = session.scalars(select(Machine).where(col(Machine.name) == name)).one_or_none()
    if machine is None:
        raise Unknown("machine", name)
    return machine


def _blame_the_preemption(session: Session, machine: Machine) -> None:
    """Attempts learn of a lost connection before anybody knows why it was lost."""
    session.execute(
        update(Attempt)
        .where(col(Attempt.machine) == machine.name, col(Attempt.end) == AttemptEnd.MACHINE_LOST)
        .values(end=AttemptEnd.PREEMPTED)
    )


def _tell_life(session: Session, life: Life, now: datetime, **details: Any) -> None:
    said = f"Life {life.id} of the pool is {life.state}" + (f" ({life.end})." if life.end else ".")
    note(session, now, EventKind.LIFE_MOVED, said, life, state=life.state, **details)


def _tell_machine(session: Session, machine: Machine, came_from: MachineState, now: datetime) -> None:
    gone = machine.state is MachineState.TERMINATED
    kind = EventKind.MACHINE_TERMINATED if gone else EventKind.MACHINE_MOVED
    said = f"Machine {machine.name} is {machine.state}" + (f" ({machine.end})." if machine.end else ".")
    if machine.reason and came_from is not MachineState.STOPPING:
        said += f" {machine.reason}"
    details = {"from": came_from, "state": machine.state, "end": machine.end}
    note(session, now, kind, said, machine, **details)
