"""`spotlift status` and `spotlift machines`: what there is, and what is to be done about it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli.stacked import ledger_of, listing_of, settings_of, unless_up
from flows.cli.talk import JsonOption, StateOption, out, plain, print_json
from flows.pool_told import status_line
from flows.progress import sentence
from flows.spans import clock
from infra import stack
from infra.machines.errors import CloudError
from infra.machines.spec import Listing
from infra.pool.bill import dollars, line_of, spent
from infra.pool.books import as_rented
from infra.pool.reconcile import unknown
from infra.records import Batch, Ledger
from infra.records.tables import Machine
from infra.settings import Settings
from infra.states import OPEN_BATCHES, BatchState, ImageState

DAY = timedelta(hours=24)


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
    settings = settings_of(state)
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
    """Show the machines of the pool, as the ledger knows them and as the cloud lists them, and what they cost."""
    settings = settings_of(state)
    ledger = ledger_of(settings)
    rows = ledger.machines(open_only=not everything)
    listing, silence = _listing(settings)
    cloud = {row.name: _status(listing, row) for row in rows}
    strangers = [] if listing is None else unknown(listing, {row.name for row in ledger.machines(open_only=True)})
    life = ledger.current_life()
    waits = life.details.get("waits", "") if life else ""
    now = datetime.now(UTC)
    if as_json:
        bills = {row.name: line_of(as_rented(row), now) for row in rows}
        print_json(
            {
                "machines": [
                    {**row.model_dump(mode="json"), "cloud": cloud[row.name], "cost": round(bills[row.name].cost, 6)}
                    for row in rows
                ],
                "orphans": [vars(instance) for instance in strangers],
                "waits": waits,
                "cloud": silence or "ok",
            }
        )
        return
    if silence:
        out.print(f"The cloud does not say what it has: {silence}", markup=False)
    for instance in strangers:
        out.print(
            f"[yellow]{instance.name}[/yellow] ({instance.zone}, {instance.status}) carries our label and no row knows "
            "it: it is given back after a minute"
        )
    if waits:
        out.print("The pool waits: ", end="")
        out.print(waits, markup=False)
    if not rows:
        out.print("No machine is rented" + ("." if waits else ": there is no work."))
        return
    _print_machines(settings, rows, cloud, now)


def _print_machines(settings: Settings, rows: list[Machine], cloud: dict[str, str], now: datetime) -> None:
    table = Table(
        "machine", "zone", "type", "ledger", "cloud", "asked for", "checked in", "cost", "why it ended",
        box=None, header_style="dim",
    )  # fmt: skip
    total = 0.0
    for row in rows:
        booted = f"after {(row.checked_in_at - row.requested_at).total_seconds():.0f} s" if row.checked_in_at else "–"
        cost = line_of(as_rented(row), now).cost
        total += cost
        kind = f"{row.machine_type}{f' + {row.gpus} × {row.gpu}' if row.gpu else ''}{', spot' if row.spot else ''}"
        why = f"{row.end or ''}{': ' + row.reason if row.reason else ''}"
        price = "?" if row.price_per_hour is None else f"${cost:.4f}"
        cells = row.zone, kind, row.state, cloud[row.name], _when(row.requested_at), booted, price, escape(why)
        table.add_row(row.name, *cells)
    out.print(table)
    prices = f"at the prices of {settings.prices or 'the shipped list'}"
    if settings.cloud == "emulator":
        prices += "; emulated machines cost nothing"
    out.print(f"{dollars(total)} so far, {prices}.", markup=False)


def _listing(settings: Settings) -> tuple[Listing | None, str]:
    """What the cloud lists, or why it does not."""
    try:
        return listing_of(settings), ""
    except CloudError as error:
        return None, str(error)


def _status(listing: Listing | None, row: Machine) -> str:
    if listing is None or row.zone in listing.silent_zones:
        return "?"
    return listing.instances[row.name].status if row.name in listing.instances else "gone"


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
    out.print(_pool(ledger), markup=False)
    for row in rows:
        if advice := _next(settings, ledger, row):
            out.print(f"{row.name}: {advice}", markup=False)


def _pool(ledger: Ledger) -> str:
    """What is rented now, and what was spent within a day."""
    life, now = ledger.current_life(), datetime.now(UTC)
    said = status_line(ledger.machines(open_only=True), life.details.get("waits", "") if life else "")
    day = spent([as_rented(machine) for machine in ledger.machines_since(now - DAY)], now - DAY, now)
    return f"{said} {dollars(day)} within 24 hours." if day else said


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
        life = ledger.current_life()
        if life is None:
            why = _why_no_pool(settings)
            return f"waits for machines; the pool does not open: {why}" if why else "waits for machines"
        return f"waits for machines: {life.details['waits']}" if life.details.get("waits") else "machines are starting"
    return row.message


def _why_no_pool(settings: Settings) -> str:
    """What the last run that was to keep the pool said when it failed, if it did."""
    from flows.runs import SPOT_POOL, Runs, ServerUnreachable  # it takes a second to import Prefect

    try:
        return Runs.of(settings).why_failed(SPOT_POOL)
    except ServerUnreachable:
        return ""


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
