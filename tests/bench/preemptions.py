"""Two hundred images on three emulated machines, five of which are taken away: what preemptions cost.

The same batch runs first undisturbed, on the same stack: that is the baseline. Two of the five machines are taken away
without notice, three with; the others are busy then, and what was lost waits for one of them. Afterwards batches of one
image lose their machine without notice while another one has nothing to do.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from infra.pool import dispatch
from infra.pool.bill import bill
from infra.pool.books import as_rented
from infra.pool.certificates import Certificate
from infra.records.tables import Event, Life
from infra.states import BatchState, EventKind, MachineState
from tests.bench.table import show
from tests.story.pictures import album, draw
from tests.story.stack import Stack, running_stack

IMAGES = 200
MACHINES = 3
AT = (0.15, 0.3, 0.45, 0.6, 0.75)
"""When a machine is taken away, as the share of images that are done."""
WITHOUT_NOTICE = (1, 3)
SINGLES = 3
"""Batches of one image that lose their machine while another one is idle."""


@dataclass
class Run:
    """One batch, and what was done to it."""

    batch: str
    seconds: float
    taken: list[tuple[str, bool, datetime]] = field(default_factory=list)
    """Machine, whether it was told, and when."""


def measure() -> None:
    """Print the figures of both runs."""
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as name:
        root = Path(name)
        pictures = album(root / "in", IMAGES, width=320, height=240)
        with running_stack(
            root,
            machines=MACHINES,
            least_machines=MACHINES,
            machine_threads=1,
            chunk_seconds=5,
            quiet=1,
            idle_window=30,
        ) as stack:
            first = _run(stack, pictures, "first", disturbed=False)
            undisturbed = _run(stack, pictures, "undisturbed", disturbed=False)
            disturbed = _run(stack, pictures, "disturbed", disturbed=True)
            life = stack.ledger.current_life()
            assert life is not None
            draw(root / "one" / "large.png", 2000, 1500, seed=1)
            singles = [_lose_one(stack, life, root / "one", f"single-{number}") for number in range(SINGLES)]
            stack.eventually("the pool has ended", lambda: not stack.ledger.lives(open_only=True), 300)
            _report(stack, life.id, first, undisturbed, disturbed, singles)


def _run(stack: Stack, pictures: Path, name: str, *, disturbed: bool) -> Run:
    began = time.monotonic()
    batch = stack.submit(pictures, name)
    run = Run(batch, 0.0)
    if disturbed:
        for number, share in enumerate(AT):
            victim = stack.machine_at_work(batch, images=round(share * IMAGES))
            told = number not in WITHOUT_NOTICE
            run.taken.append((victim, told, datetime.now().astimezone()))
            stack.emulator.preempt(victim, notice=30 if told else None)
    row = stack.ended(batch)
    assert row.state is BatchState.DONE, row.message
    run.seconds = time.monotonic() - began
    return run


def _lose_one(stack: Stack, life: Life, picture: Path, name: str) -> Run:
    """A batch of one image, whose machine is taken away without notice while another one has nothing to do."""
    with dispatch.connect(
        str(life.scheduler_address), Certificate.of(Path(life.details["certificates"]), "client")
    ) as it:

        def victim() -> str | None:
            at_work = dispatch.at_work(it) or {}
            busy = [machine for machine, works in at_work.items() if works]
            return busy[0] if len(busy) == 1 and len(at_work) > 1 else None

        stack.eventually(
            "there are idle machines", lambda: list((dispatch.at_work(it) or {}).values()).count(False) >= 2
        )
        batch = stack.submit(picture, name)
        machine = stack.eventually("one machine works, and another does not", victim)
    run = Run(batch, 0.0, [(machine, False, datetime.now().astimezone())])
    stack.emulator.preempt(machine, notice=None)
    assert stack.ended(batch).state is BatchState.DONE
    return run


def _losses(stack: Stack, run: Run) -> list["_Loss"]:
    diary = stack.ledger.events(batch_id=stack.ledger.batch(run.batch).id, most=100_000)
    return [_Loss(event, diary, run) for event in diary if _is_loss(event)]


def _report(stack: Stack, life: int, first: Run, undisturbed: Run, disturbed: Run, singles: list[Run]) -> None:
    told = {name for name, with_notice, _ in disturbed.taken if with_notice}
    losses = _losses(stack, disturbed)
    alone = [loss for single in singles for loss in _losses(stack, single)]
    noticed = [loss for loss in losses if _machine(stack, loss) in told]
    unnoticed = [loss for loss in losses if _machine(stack, loss) not in told]
    machines = stack.ledger.machines(life)
    worked = stack.ledger.worked_seconds(life)
    total = bill([as_rented(m, worked.get(m.name, 0.0)) for m in machines], machines[-1].ended_at or datetime.now())
    arrived = stack.ledger.batch(first.batch).arrived_at
    life_diary = stack.ledger.events(life_id=life, most=100_000)
    ordered = next(e.at for e in life_diary if e.kind is EventKind.MACHINE_MOVED and "operation" in e.details)
    checked_in = next(e.at for e in life_diary if e.kind is EventKind.MACHINE_CHECKED_IN)
    result = stack.ledger.batch(first.batch).first_result_at
    assert result is not None
    show(
        f"{IMAGES} images of 320×240, {MACHINES} machines, {len(disturbed.taken)} preemptions "
        f"({len(told)} with notice, {len(disturbed.taken) - len(told)} without)",
        ("", "seen", "aim"),
        [
            ("images redone after notice", sum(loss.redone for loss in noticed), "0"),
            ("images redone without notice", sum(loss.redone for loss in unnoticed), f"≤ {len(unnoticed)}"),
            ("attempts lost with notice / without", f"{len(noticed)} / {len(unnoticed)}", ""),
            ("s from preemption to the chunk sent again", _median([loss.sent for loss in losses]), ""),
            ("s from preemption to its work running elsewhere", _median([loss.begun for loss in losses]), ""),
            (f"the same, {len(alone)} times, with an idle machine", _median([loss.begun for loss in alone]), "< 1"),
            ("s from preemption to its next image done", _median([loss.done for loss in losses]), ""),
            ("s from taken from the inbox to the accepted order", (ordered - arrived).total_seconds(), "< 5"),
            ("s from the first check-in to the first finished image", (result - checked_in).total_seconds(), "< 2"),
            ("machine seconds paid ÷ working, whole life", total.total.paid / total.total.working, ""),
            ("s for the batch, undisturbed", undisturbed.seconds, ""),
            ("s for the batch, disturbed ÷ undisturbed", disturbed.seconds / undisturbed.seconds, ""),
            ("machines rented in that life", sum(m.state is MachineState.TERMINATED for m in machines), ""),
        ],
    )  # fmt: skip


def _is_loss(event: Event) -> bool:
    return event.kind is EventKind.ATTEMPT_ENDED and event.details.get("end") in ("PREEMPTED", "MACHINE_LOST")


def _machine(stack: Stack, loss: "_Loss") -> str | None:
    """On which machine the lost attempt was."""
    attempts = stack.ledger.attempts(loss.event.batch_id or 0)
    return next(attempt.machine for attempt in attempts if attempt.id == loss.event.attempt_id)


class _Loss:
    """One attempt that a preemption ended, and what came next."""

    def __init__(self, event: Event, diary: list[Event], run: Run) -> None:
        self.event = event
        taken = max((at for _, _, at in run.taken if at <= event.at), default=event.at)
        later = [e for e in diary if e.id > event.id and e.chunk_id == event.chunk_id]
        again = next((e for e in later if e.kind is EventKind.ATTEMPT_OPENED), None)
        image = next((e for e in later if e.kind is EventKind.IMAGES_RECORDED), None)
        self.sent = (again.at - taken).total_seconds() if again else None
        ended = next((e for e in later if e.kind is EventKind.ATTEMPT_ENDED), None)
        begun = ended and ended.details.get("begun_at")
        self.begun = (datetime.fromisoformat(begun) - taken).total_seconds() if begun else None
        self.done = (image.at - taken).total_seconds() if image else None
        self.redone = int(event.details.get("in_hand") is not None)


def _median(values: list[float | None]) -> object:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else "–"
