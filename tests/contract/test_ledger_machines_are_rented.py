"""Machines are written down before they cost money, never more than allowed, and each end has a reason."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from infra.records import Batch, IllegalMove, Ledger, Life, Machine, Refused, Unknown
from infra.states import BatchEnd, EventKind, LifeEnd, LifeState, MachineEnd, MachineState


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


def test_work_that_waits_knows_when_somebody_asked_for_it(
    ledger: Ledger, noon: datetime, arrived: Callable[..., Batch], running: Callable[..., Batch]
) -> None:
    batch = running(ledger, ["a.png", "b.png"], ["c.png"])
    arrived(ledger, "unread", noon + timedelta(minutes=1))
    waiting = {work.batch: work for work in ledger.waiting_work()}
    read, unread = waiting["holiday"], waiting["unread"]
    assert (read.chunks, read.pixels, read.unread) == (2, 3600, False)
    assert (read.asked_at, read.retried_at) == (noon, None)
    assert (unread.chunks, unread.pixels, unread.unread) == (0, 0, True)

    later = noon + timedelta(hours=1)
    ledger.fail(batch.id, BatchEnd.NO_CAPACITY, "No machine.", noon)
    assert [work.batch for work in ledger.waiting_work()] == ["unread"]
    ledger.retry(batch.id, later)
    [again] = [work for work in ledger.waiting_work() if work.batch == "holiday"]
    assert (again.asked_at, again.retried_at, again.unread) == (later, later, True)


def test_what_a_pool_waits_for_is_written_down_only_when_it_changes(
    ledger: Ledger, database_url: str, noon: datetime
) -> None:
    life = open_life(ledger, noon)
    ledger.pool_waits(life.id, "No stock.", noon)
    other = Ledger(database_url)
    with other._database.writing():  # somebody holds the one write lock
        began = time.monotonic()
        for _ in range(3):
            ledger.pool_waits(life.id, "No stock.", noon)
        assert time.monotonic() - began < 5  # seconds; a writer would wait for thirty and fail
    other.close()
    ledger.pool_waits(life.id, "No stock.", noon, for_good=True)
    ledger.pool_waits(life.id, "", noon)
    told = [(e.message, e.details["for_good"]) for e in ledger.events() if e.kind is EventKind.POOL_WAITS]
    assert told == [("No stock.", False), ("No stock.", True)]
    assert ledger.life(life.id).details["waits"] == ""


def test_a_step_of_the_keeper_looks_through_no_table_that_only_grows(sqlite_url: str, noon: datetime) -> None:
    ledger = Ledger(sqlite_url)
    ledger.migrate()
    life = open_life(ledger, noon)
    asked: list[tuple[str, Any]] = []
    event.listen(ledger._database.engine, "before_cursor_execute", lambda *heard: asked.append((heard[2], heard[3])))
    ledger.waiting_work()
    ledger.speed("fast")
    ledger.machines_since(noon)
    ledger.machines(life.id, open_only=True)
    ledger.machines(open_only=True)
    ledger.worked_seconds(life.id)
    ledger.lost_attempts(life.id)
    ledger.pool_waits(life.id, "", noon)
    with ledger._database.engine.connect() as connection:
        plans = {
            statement: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            for statement, values in asked
            if statement.startswith("SELECT")
        }
    assert len(plans) >= 8
    for statement, lines in plans.items():
        for table in ("image", "chunk", "attempt", "event", "machine"):
            assert f"SCAN {table}" not in {line[: len(f"SCAN {table}")] for line in lines}, (statement, lines)
    ledger.close()
