"""Machines are written down before they cost money, never more than allowed, and each end has a reason."""

from datetime import datetime, timedelta

import pytest

from infra.records import IllegalMove, Ledger, Life, Machine, Refused, Unknown
from infra.states import EventKind, LifeEnd, LifeState, MachineEnd, MachineState


def open_life(ledger: Ledger, now: datetime) -> Life:
    life = ledger.open_life(now, flow_run_id="run-1")
    assert life is not None
    return ledger.life_is_open(life.id, "tls://127.0.0.1:8786", now)


def rent(ledger: Ledger, life: Life, name: str, now: datetime, maximum: int = 2) -> Machine | None:
    return ledger.rent(
        life.id, maximum, name=name, zone="here", machine_type="local", spot=True, price_per_hour=0.2, now=now
    )


def test_no_more_machines_than_allowed_are_rented(ledger: Ledger, noon: datetime) -> None:
    life = open_life(ledger, noon)
    first = rent(ledger, life, "m1", noon)
    assert first is not None
    assert first.state is MachineState.REQUESTED
    assert rent(ledger, life, "m2", noon) is not None
    assert rent(ledger, life, "m3", noon) is None
    ledger.move_machine(first.id, MachineState.STOPPING, noon, end=MachineEnd.IDLE)
    assert rent(ledger, life, "m3", noon) is None
    ledger.move_machine(first.id, MachineState.TERMINATED, noon)
    assert rent(ledger, life, "m3", noon) is not None
    assert [machine.name for machine in ledger.machines(life.id, open_only=True)] == ["m2", "m3"]
    with pytest.raises(Refused, match="name of its own"):
        rent(ledger, life, "m1", noon, maximum=9)


def test_a_machine_walks_through_its_life(ledger: Ledger, noon: datetime) -> None:
    machine = rent(ledger, open_life(ledger, noon), "m1", noon)
    assert machine is not None
    later = noon + timedelta(minutes=1)
    ledger.move_machine(machine.id, MachineState.PROVISIONING, noon, details={"host": "h-1"})
    ledger.move_machine(machine.id, MachineState.RUNNING, later, details={"ip": "10.0.0.2"})
    ledger.move_machine(machine.id, MachineState.RUNNING, later + timedelta(minutes=9))
    ledger.check_in("m1", later)
    with pytest.raises(IllegalMove, match="m1 is RUNNING and cannot become STAGING"):
        ledger.move_machine(machine.id, MachineState.STAGING, later)
    ledger.move_machine(machine.id, MachineState.STOPPING, later, end=MachineEnd.PREEMPTED)
    ledger.move_machine(machine.id, MachineState.TERMINATED, later, end=MachineEnd.LOST)
    machine = ledger.machine("m1")
    assert (machine.end, machine.stopping_at, machine.started_at) == (MachineEnd.PREEMPTED, later, later)
    assert machine.details == {"host": "h-1", "ip": "10.0.0.2"}
    kinds = [event.kind for event in ledger.events(life_id=machine.life_id)][2:]
    moved, came, gone = EventKind.MACHINE_MOVED, EventKind.MACHINE_CHECKED_IN, EventKind.MACHINE_TERMINATED
    assert kinds == [EventKind.MACHINE_REQUESTED, moved, moved, came, moved, gone]


def test_no_machine_ends_without_a_reason(ledger: Ledger, noon: datetime) -> None:
    machine = rent(ledger, open_life(ledger, noon), "m1", noon)
    assert machine is not None
    with pytest.raises(Refused, match="without a reason"):
        ledger.move_machine(machine.id, MachineState.TERMINATED, noon)
    assert ledger.machine("m1").state is MachineState.REQUESTED


def test_a_stranger_cannot_check_in(ledger: Ledger, noon: datetime) -> None:
    with pytest.raises(Unknown, match="no machine 'm9'"):
        ledger.check_in("m9", noon)


def test_a_pool_has_one_life_at_a_time(ledger: Ledger, noon: datetime) -> None:
    life = open_life(ledger, noon)
    assert ledger.open_life(noon) is None
    assert ledger.current_life() == life
    ledger.close_life(life.id, LifeEnd.REPLACED, noon)
    assert ledger.close_life(life.id, LifeEnd.IDLE, noon).end is LifeEnd.REPLACED
    assert ledger.current_life() is None
    assert ledger.open_life(noon) is not None


def test_a_life_ends_when_its_last_machine_is_gone(ledger: Ledger, noon: datetime) -> None:
    life = open_life(ledger, noon)
    machine = rent(ledger, life, "m1", noon)
    assert machine is not None
    ledger.close_life(life.id, LifeEnd.IDLE, noon)
    assert rent(ledger, life, "m2", noon) is None
    with pytest.raises(Refused, match="1 machine not given back"):
        ledger.life_is_closed(life.id, noon)
    ledger.move_machine(machine.id, MachineState.TERMINATED, noon, end=MachineEnd.POOL_CLOSED)
    life = ledger.life_is_closed(life.id, noon)
    assert (life.state, life.closed_at) == (LifeState.CLOSED, noon)
    assert ledger.life_is_closed(life.id, noon) == life
    assert ledger.lives(open_only=True) == []
