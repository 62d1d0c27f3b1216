"""The story of the pool: its lives, and the machines that are rented and given back in each."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.diary import Verbs, counted, get, note
from infra.records.errors import Refused, Unknown
from infra.records.tables import Life, Machine
from infra.states import EventKind, LifeEnd, LifeState, MachineEnd, MachineState, check_move

_USABLE = (LifeState.OPENING, LifeState.OPEN)


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
        price_per_hour: float | None = None,
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
                spot=spot,
                price_per_hour=price_per_hour,
                state=MachineState.REQUESTED,
                requested_at=now,
                details=details or {},
            )
            session.add(machine)
            session.flush()
            said = f"Machine {name} ({machine_type}{', spot' if spot else ''}, {zone}) is requested."
            note(session, now, EventKind.MACHINE_REQUESTED, said, machine, state=machine.state)
            return machine

    def move_machine(
        self,
        machine_id: int,
        to: MachineState,
        now: datetime,
        *,
        end: MachineEnd | None = None,
        pid: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> Machine:
        """Note what the cloud says about a machine. Harmless when it says the same again.

        Why it ends is told with STOPPING or TERMINATED; the first reason stays. Raises `IllegalMove`, and
        `Refused` when a machine would be TERMINATED without a reason.
        """
        with self._database.writing() as session:
            machine = get(session, Machine, machine_id)
            machine.pid = machine.pid if pid is None else pid
            machine.details = {**machine.details, **(details or {})}
            if machine.state is to:
                return machine
            came_from = machine.state
            machine.state = check_move(f"Machine {machine.name}", came_from, to)
            machine.end = machine.end or end
            if to is MachineState.RUNNING:
                machine.started_at = machine.started_at or now
            if to is MachineState.TERMINATED:
                if machine.end is None:
                    raise Refused(f"Machine {machine.name} cannot be TERMINATED without a reason.")
                machine.ended_at = now
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

    def machines(self, life_id: int | None = None, *, open_only: bool = False) -> list[Machine]:
        """The machines of one life or of all, all or those that are not TERMINATED, oldest first."""
        query = select(Machine).order_by(col(Machine.id))
        if life_id is not None:
            query = query.where(col(Machine.life_id) == life_id)
        if open_only:
            query = query.where(col(Machine.state) != MachineState.TERMINATED)
        with self._database.reading() as session:
            return list(session.scalars(query))


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


def _tell_life(session: Session, life: Life, now: datetime, **details: Any) -> None:
    said = f"Life {life.id} of the pool is {life.state}" + (f" ({life.end})." if life.end else ".")
    note(session, now, EventKind.LIFE_MOVED, said, life, state=life.state, **details)


def _tell_machine(session: Session, machine: Machine, came_from: MachineState, now: datetime) -> None:
    gone = machine.state is MachineState.TERMINATED
    kind = EventKind.MACHINE_TERMINATED if gone else EventKind.MACHINE_MOVED
    said = f"Machine {machine.name} is {machine.state}" + (f" ({machine.end})." if machine.end else ".")
    details = {"from": came_from, "state": machine.state, "end": machine.end}
    note(session, now, kind, said, machine, **details)
