"""Follow a batch in the terminal: a live bar for people, a line now and then in a pipe."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from flows.cli.talk import UserError, out
from flows.leases import of_batch
from flows.progress import sentence
from infra import stack
from infra.records import Batch, Ledger
from infra.settings import Settings
from infra.states import OPEN_BATCHES, BatchState

LOOK_EVERY = 0.25
PICKED_UP_WITHIN = 180.0
"""Seconds within which a complete batch in the inbox must be taken, or something is wrong."""


Look = Callable[[Batch | None], None]
"""Called with the batch at every look."""


def watch(settings: Settings, ledger: Ledger, name: str, also: Look = lambda _: None) -> Batch:
    """Wait until the batch has ended, showing how far it is. Ends early when the stack goes down."""
    show = _live if out.is_terminal else _lines
    return show(settings, ledger, name, also)


def _live(settings: Settings, ledger: Ledger, name: str, also: Look) -> Batch:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task(name, total=None)
        for row in _looks(settings, ledger, name):
            also(row)
            progress = ledger.progress(row.id) if row else None
            total = progress.images if progress and progress.images else None
            bar.update(
                task,
                description=_where(ledger, row),
                completed=progress.settled if progress else 0,
                total=total,
            )
    return ledger.batch(name)


def _lines(settings: Settings, ledger: Ledger, name: str, also: Look) -> Batch:
    began, said = time.monotonic(), ""
    for row in _looks(settings, ledger, name):
        also(row)
        where = _where(ledger, row)
        if where != said:
            out.print(f"{time.monotonic() - began:5.1f} s  {where}", markup=False)
            said = where
    return ledger.batch(name)


def _looks(settings: Settings, ledger: Ledger, name: str) -> Iterator[Batch | None]:
    """The batch, again and again until it has ended; None while it still lies in the inbox."""
    taken_by = time.monotonic() + PICKED_UP_WITHIN
    while True:
        row = ledger.find_batch(name)
        yield row
        if row is not None and row.state not in OPEN_BATCHES and not _at_work(ledger, row):
            return
        if row is None and time.monotonic() > taken_by:
            raise UserError(
                f"nobody took {name} from the inbox within {PICKED_UP_WITHIN:.0f} s: `spotlift doctor` says why"
            )
        if not stack.state_of(settings)[stack.SERVER]:
            raise UserError(f"the stack went down; `spotlift up` goes on with {name}")
        time.sleep(LOOK_EVERY)


def _at_work(ledger: Ledger, row: Batch) -> bool:
    """Whether the run of a batch still lives: its report comes after its end."""
    lease = ledger.lease(of_batch(row.id))
    return lease is not None and lease.until > datetime.now(UTC)


def _where(ledger: Ledger, row: Batch | None) -> str:
    """Where a batch is on its way, in words."""
    if row is None:
        return "in the inbox, waiting to be taken"
    if row.state is BatchState.RUNNING or row.state not in OPEN_BATCHES:
        return sentence(ledger.progress(row.id))
    life = ledger.current_life()
    if life is None:
        return "taken; calling for machines"
    if life.details.get("waits"):
        return f"waiting for machines: {life.details['waits']}"
    machines = ledger.machines(life.id, open_only=True)
    ready = sum(machine.checked_in_at is not None for machine in machines)
    return f"{ready} of {len(machines)} machines have checked in" if machines else "the pool is opening"
