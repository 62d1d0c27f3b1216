"""Eight processes write into one ledger: nothing is rented or taken twice, no outcome is lost or doubled."""

import itertools
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

from infra.records import Batch, Event, Fenced, IllegalMove, ImageOutcome, Ledger, Machine
from infra.states import (
    MOVES,
    AttemptEnd,
    AttemptState,
    BatchState,
    ChunkState,
    EventKind,
    ImageState,
    LifeState,
    MachineEnd,
    MachineState,
    SourceKind,
)

PROCESSES = 8
MAXIMUM = 3
NAMES = [f"batch-{number}" for number in range(24)]
CHUNKS = [[f"{chunk}/{image}.png" for image in range(20)] for chunk in range(8)]

Running = Callable[..., Batch]


all_of_us: Barrier | None = None


@dataclass
class Deeds:
    """What one process believes that it did."""

    taken: list[str] = field(default_factory=list)
    rented: list[str] = field(default_factory=list)
    recorded: dict[int, str] = field(default_factory=dict)  # image id: sha256
    fenced: int = 0
    crowned: int = 0


def test_nothing_happens_twice_and_nothing_is_lost(
    ledger: Ledger, database_url: str, running: Running, noon: datetime, tmp_path: Path
) -> None:
    batch = running(ledger, *CHUNKS)
    life = ledger.open_life(noon)
    assert life is not None
    ledger.life_is_open(life.id, "tls://127.0.0.1:1", noon)

    with crowd() as workers:
        futures = [
            workers.submit(take_part, database_url, number, batch.id, life.id, tmp_path) for number in range(PROCESSES)
        ]
        followed = follow(ledger, futures)
    deeds = [future.result() for future in futures]

    assert sorted(name for deed in deeds for name in deed.taken) == sorted(NAMES)
    assert_outcomes_are_kept(ledger, batch, deeds)
    assert_machines_were_never_too_many(ledger, deeds)
    assert sum(deed.crowned for deed in deeds) > 0
    diary = list(read(ledger))
    assert [event.id for event in followed] == [event.id for event in diary]
    assert_the_diary_agrees(ledger, diary, batch)
    assert ledger.finish(batch.id, noon).state is BatchState.DONE


def test_many_processes_may_create_the_tables_at_once(database_url: str) -> None:
    with crowd() as workers:
        for future in [workers.submit(migrate, database_url) for _ in range(PROCESSES)]:
            future.result()
    assert Ledger(database_url).batches() == []


@contextmanager
def crowd() -> Iterator[ProcessPoolExecutor]:
    """Eight processes that begin together."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, initializer=meet, initargs=(barrier,)) as workers:
        yield workers


def meet(barrier: Barrier) -> None:
    """Wait for all others, and remember where they can be met again."""
    global all_of_us
    all_of_us = barrier
    together()


def together() -> None:
    """Go on when all have come so far."""
    assert all_of_us is not None
    all_of_us.wait(60)


def migrate(url: str) -> None:
    Ledger(url).migrate()


def take_part(url: str, number: int, batch_id: int, life_id: int, folder: Path) -> Deeds:
    """Do all that processes do to a ledger, in an order of one's own, until there is nothing left to do."""
    ledger, deeds, chance = Ledger(url), Deeds(), random.Random(number)
    me = f"process-{number}"
    names = chance.sample(NAMES, len(NAMES))
    first = ledger.chunks(batch_id)[0]
    # Otherwise chance decides whether two ever meet: on a busy computer one may run through before another wakes up.
    work(ledger, first.id, me, chance, deeds, meanwhile=together)
    while names or ledger.progress(batch_id).waiting:
        if names:
            take(ledger, names.pop(), deeds)
        machine = rent(ledger, life_id, f"{me}-{len(deeds.rented)}", deeds)
        wear_the_crown(ledger, me, folder / "crown", deeds)
        open_chunks = ledger.chunks(batch_id, open_only=True)
        if open_chunks:
            with suppress(IllegalMove):  # somebody finished the chunk since we looked
                work(ledger, chance.choice(open_chunks).id, me, chance, deeds)
        if machine is not None:
            give_back(ledger, machine)
    return deeds


def take(ledger: Ledger, name: str, deeds: Deeds) -> None:
    wish = {"kind": SourceKind.FOLDER, "source": name, "fingerprint": "", "model": "fast", "scale": 2}
    if ledger.take(name, **wish, now=datetime.now(UTC)) is not None:
        deeds.taken.append(name)


def rent(ledger: Ledger, life_id: int, name: str, deeds: Deeds) -> Machine | None:
    now = datetime.now(UTC)
    machine = ledger.rent(life_id, MAXIMUM, name=name, zone="z", machine_type="t", spot=True, now=now)
    if machine is not None:
        deeds.rented.append(name)
        ledger.move_machine(machine.id, MachineState.RUNNING, datetime.now(UTC))
    return machine


def give_back(ledger: Ledger, machine: Machine) -> None:
    ledger.move_machine(machine.id, MachineState.STOPPING, datetime.now(UTC))
    ledger.move_machine(machine.id, MachineState.TERMINATED, datetime.now(UTC), end=MachineEnd.IDLE)


def wear_the_crown(ledger: Ledger, me: str, crown: Path, deeds: Deeds) -> None:
    if ledger.hold("crown", me, 60, datetime.now(UTC)):
        crown.touch(exist_ok=False)  # fails when somebody else wears it
        deeds.crowned += 1
        crown.unlink()
        assert ledger.let_go("crown", me)


def work(
    ledger: Ledger,
    chunk_id: int,
    me: str,
    chance: random.Random,
    deeds: Deeds,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Begin a chunk (perhaps under somebody's feet), hand in some of it, and end in one way or another."""
    attempt = ledger.open_attempt(chunk_id, datetime.now(UTC))
    meanwhile()
    waiting = ledger.missing(chunk_id)
    sha256 = f"{me}-{attempt.id}"
    part = waiting[: chance.randint(1, 10)]
    outcomes = [ImageOutcome(image.id, done=True, sha256=sha256, seconds=1, model="fast") for image in part]
    try:
        count = ledger.record(attempt.id, outcomes, datetime.now(UTC))
        assert count == len(part)
        deeds.recorded |= dict.fromkeys((image.id for image in part), sha256)
        end = AttemptEnd.FINISHED if len(part) == len(waiting) else AttemptEnd.PREEMPTED
        ledger.end_attempt(attempt.id, end, datetime.now(UTC))
    except Fenced:
        deeds.fenced += 1


def follow(ledger: Ledger, futures: list[Future[Deeds]]) -> list[Event]:
    """Read the diary as it is written, each time from the last line on."""
    lines: list[Event] = []
    while True:
        over = all(future.done() for future in futures)
        lines += ledger.events(after_id=lines[-1].id if lines else 0)
        if over:
            return lines


def read(ledger: Ledger) -> Iterator[Event]:
    last = 0
    while page := ledger.events(after_id=last, most=500):
        yield from page
        last = page[-1].id


def assert_outcomes_are_kept(ledger: Ledger, batch: Batch, deeds: list[Deeds]) -> None:
    images = ledger.images(batch.id)
    assert {image.state for image in images} == {ImageState.DONE}
    told = Counter(itertools.chain.from_iterable(deed.recorded for deed in deeds))
    assert set(told.values()) == {1}
    believed = {key: sha for deed in deeds for key, sha in deed.recorded.items()}
    assert believed == {image.id: image.sha256 for image in images}
    attempts = ledger.attempts(batch.id)
    assert sum(attempt.images_done for attempt in attempts) == len(images)
    assert {attempt.state for attempt in attempts} == {AttemptState.ENDED}
    superseded = [attempt for attempt in attempts if attempt.end is AttemptEnd.SUPERSEDED]
    assert len(superseded) == sum(deed.fenced for deed in deeds) > 0
    assert {chunk.state for chunk in ledger.chunks(batch.id)} == {ChunkState.DONE}


def assert_machines_were_never_too_many(ledger: Ledger, deeds: list[Deeds]) -> None:
    assert sorted(m.name for m in ledger.machines()) == sorted(m for deed in deeds for m in deed.rented)
    living, most = 0, 0
    for event in read(ledger):
        living += event.kind is EventKind.MACHINE_REQUESTED
        living -= event.kind is EventKind.MACHINE_TERMINATED
        most = max(most, living)
    assert (living, most) == (0, MAXIMUM)


def assert_the_diary_agrees(ledger: Ledger, diary: list[Event], batch: Batch) -> None:
    """Replayed, the diary makes legal moves only, and ends in the states of the rows."""
    batches, machines = {}, {}
    for event in diary:
        if event.batch_id and "state" in event.details:
            batches[event.batch_id] = step(batches.get(event.batch_id), BatchState(event.details["state"]))
        if event.machine_id:
            state = MachineState(event.details["state"])
            machines[event.machine_id] = step(machines.get(event.machine_id), state)
    assert batches == {row.id: row.state for row in ledger.batches()}
    assert machines == {row.id: row.state for row in ledger.machines()}
    recorded = [event.details for event in diary if event.kind is EventKind.IMAGES_RECORDED]
    assert sum(counts["done"] for counts in recorded) == sum(map(len, CHUNKS))
    opened = [event.attempt_id for event in diary if event.kind is EventKind.ATTEMPT_OPENED]
    ended = [event.attempt_id for event in diary if event.kind is EventKind.ATTEMPT_ENDED]
    assert sorted(opened) == sorted(ended) == [attempt.id for attempt in ledger.attempts(batch.id)]
    assert ledger.lives()[0].state is LifeState.OPEN


def step(before: BatchState | MachineState | None, after: BatchState | MachineState) -> BatchState | MachineState:
    assert before is None or before is after or after in MOVES[type(before)][before]
    return after
