"""`spotlift status` and `spotlift machines`: what there is, and what is to be done about it."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli.stacked import ledger_of, unless_up
from flows.cli.talk import JsonOption, StateOption, out, plain, print_json
from flows.progress import sentence
from flows.spans import clock
from infra import stack
from infra.pool.folder import life_processes
from infra.records import Batch, Ledger
from infra.records.tables import Life
from infra.settings import Settings, read_settings
from infra.states import OPEN_BATCHES, BatchState, ImageState


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(status)
    app.command()(machines)


@plain
def status(
    batch: Annotated[str | None, typer.Argument(help="Name of a batch. [default: all]")] = None,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show the batches, or one batch with its rejects and attempts."""
    settings = read_settings(state=state)
    ledger = ledger_of(settings)
    if batch is None:
        rows = ledger.batches()
        if as_json:
            print_json([_as_dict(ledger, row) for row in rows])
            return
        _print_batches(settings, ledger, rows)
        return
    row = ledger.batch(batch)
    if as_json:
        print_json({**_as_dict(ledger, row), **_details(ledger, row)})
        return
    _print_batch(settings, ledger, row)


@plain
def machines(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are gone.")] = False,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show the machines of the pool, as the ledger sees them and as this computer does."""
    settings = read_settings(state=state)
    ledger = ledger_of(settings)
    rows = ledger.machines(open_only=not everything)
    lives = {life.id: life for life in ledger.lives()}
    alive = {row.name: _alive(settings, lives[row.life_id], row.name) for row in rows}
    if as_json:
        print_json([{**row.model_dump(mode="json"), "process_alive": alive[row.name]} for row in rows])
        return
    if not rows:
        out.print("No machine is rented: there is no work.")
        return
    table = Table(
        "machine",
        "state",
        "ended as",
        "process",
        "requested",
        "checked in",
        "life",
        box=None,
        header_style="dim",
    )
    for row in rows:
        booted = f"after {(row.checked_in_at - row.requested_at).total_seconds():.0f} s" if row.checked_in_at else "–"
        table.add_row(
            row.name,
            row.state,
            row.end or "",
            "alive" if alive[row.name] else "gone",
            _when(row.requested_at),
            booted,
            str(row.life_id),
        )
    out.print(table)


def _alive(settings: Settings, life: Life, name: str) -> bool:
    return life_processes(settings, life).find(name) is not None


def _print_batches(settings: Settings, ledger: Ledger, rows: list[Batch]) -> None:
    if not rows:
        out.print(f"No batch yet. Hand one in with `spotlift submit SRC`{unless_up(settings)}.")
        return
    table = Table("batch", "state", "images", "done", "rejected", "arrived", "took", box=None, header_style="dim")
    for row in rows:
        progress = ledger.progress(row.id)
        took = _took(row)
        counts = str(progress.images), str(progress.done), str(progress.rejected or "")
        table.add_row(escape(row.name), _coloured(row.state), *counts, _when(row.arrived_at), took)
    for column in table.columns:
        column.no_wrap = True
    out.print(table)
    for row in rows:
        if advice := _next(settings, ledger, row):
            out.print(f"{row.name}: {advice}", markup=False)


def _print_batch(settings: Settings, ledger: Ledger, row: Batch) -> None:
    out.print(f"[bold]{escape(row.name)}[/bold] {_coloured(row.state)}  {sentence(ledger.progress(row.id))}")
    for line in (_next(settings, ledger, row), row.note):
        if line:
            out.print(line, markup=False)
    rejected = ledger.images(row.id, ImageState.REJECTED)
    for image in rejected[:20]:
        out.print(f"  [yellow]{escape(image.name)}[/yellow] {image.reason}: ", end="")
        out.print(image.message, markup=False)
    if len(rejected) > 20:
        out.print(f"  … and {len(rejected) - 20} more: `spotlift status {row.name} --json`, or the report")
    lost = [attempt for attempt in ledger.attempts(row.id) if attempt.end and attempt.end != "FINISHED"]
    for attempt in lost:
        out.print(f"  attempt {attempt.number} of a chunk ended as {attempt.end} on {attempt.machine or 'no machine'}")
    folder = settings.outbox_folder / row.name
    if folder.exists():
        out.print(f"results  {folder}", markup=False)
    if (folder / "report.html").exists():
        out.print(f"report   {folder / 'report.html'}", markup=False)


def print_end(settings: Settings, ledger: Ledger, row: Batch) -> None:
    _print_batch(settings, ledger, row)
    at = stack.address(settings)
    if row.flow_run_id:
        out.print(f"run      {at.ui}/runs/flow-run/{row.flow_run_id}")


def _next(settings: Settings, ledger: Ledger, row: Batch) -> str:
    """What a user should know or do about a batch, in one line."""
    if row.state in OPEN_BATCHES and unless_up(settings):
        return "goes on" + unless_up(settings)
    if row.state is BatchState.ARRIVED or row.state is BatchState.REGISTERED:
        return "waits for machines" if ledger.current_life() is None else "machines are starting"
    return row.message


def _details(ledger: Ledger, row: Batch) -> dict[str, Any]:
    return {
        "images": [image.model_dump(mode="json") for image in ledger.images(row.id)],
        "attempts": [attempt.model_dump(mode="json") for attempt in ledger.attempts(row.id)],
        "events": [event.model_dump(mode="json") for event in ledger.events(batch_id=row.id, most=100_000)],
    }


def _as_dict(ledger: Ledger, row: Batch) -> dict[str, Any]:
    progress = ledger.progress(row.id)
    counts = {name: getattr(progress, name) for name in ("images", "waiting", "done", "rejected", "cancelled")}
    return {**row.model_dump(mode="json"), "counts": counts}


def _took(row: Batch) -> str:
    """The time of the last round, from its first machine on."""
    if row.finished_at is None:
        return ""
    return clock((row.finished_at - (row.started_at or row.finished_at)).total_seconds())


def _coloured(state: BatchState) -> str:
    colour = {BatchState.DONE: "green", BatchState.FAILED: "red", BatchState.DONE_WITH_REJECTS: "yellow"}.get(
        state, "cyan"
    )
    return f"[{colour}]{state}[/{colour}]"


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%d %b %H:%M")
