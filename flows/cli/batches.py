"""`submit`, `status`, `machines`, `fetch`, `cancel`, `retry`: what people do with batches."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.talk import JsonOption, StateOption, UserError, err, out, plain, print_json
from flows.cli.watching import watch
from flows.progress import sentence
from flows.registering import model_checksum
from flows.spans import clock
from infra import stack
from infra.arrivals import Wish, check_wish, hand_in
from infra.records import Batch, Ledger
from infra.settings import Settings, read_settings
from infra.states import OPEN_BATCHES, RETRYABLE_BATCHES, BatchState, ImageState
from workers.model import shipped

BatchArgument = Annotated[str, typer.Argument(help="Name of the batch, as `spotlift status` shows it.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (submit, status, machines, fetch, cancel, retry):
        app.command()(command)


@plain
def submit(
    source: Annotated[Path, typer.Argument(help="Folder, zip or single image.")],
    name: Annotated[str | None, typer.Option(help="Name of the batch. [default: that of SOURCE]")] = None,
    model: Annotated[str | None, typer.Option(help="A shipped model, or a .keras file. [default: fast]")] = None,
    output_format: Annotated[
        str | None, typer.Option("--format", help="png, jpeg, webp, tiff, bmp, gif. [default: as is]")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="How many times larger; the model must be made for it. [default: 2]")
    ] = None,
    note: Annotated[str, typer.Option(help="A remark that stays with the batch.")] = "",
    tonight: Annotated[bool, typer.Option("--tonight", help="Leave it for the night run.")] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show progress until it has ended; exit 0 only if every image is enhanced."),
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--fetch", metavar="DEST", help="With --wait: copy the results to this folder.")
    ] = None,
    state: StateOption = None,
) -> None:
    """Put a batch into the inbox. The watcher takes it within seconds."""
    settings = read_settings(state=state)
    ledger = _ledger(settings)
    wish = _wish(settings, model, scale, output_format, note, tonight)
    batch = hand_in(source, settings.inbox_folder, name, wish, taken=lambda n: ledger.find_batch(n) is not None)
    renamed = f" (the name {name or source.stem} is taken)" if batch not in (name, source.stem, source.name) else ""
    out.print(f"[bold]{batch}[/bold] is in the inbox{renamed}.")
    if not wait:
        out.print(f"Follow it with `spotlift status {batch}`" + _unless_up(settings))
        return
    if _unless_up(settings):
        raise UserError("the stack is not up, so nobody takes the batch: start it with `spotlift up`")
    ended = watch(settings, ledger, batch)
    _print_end(settings, ledger, ended)
    if to is not None:
        _copy_results(settings, ended, to)
    raise typer.Exit(0 if ended.state is BatchState.DONE else 1)


@plain
def status(
    batch: Annotated[str | None, typer.Argument(help="Name of a batch. [default: all]")] = None,
    as_json: JsonOption = False,
    state: StateOption = None,
) -> None:
    """Show the batches, or one batch with its rejects and attempts."""
    settings = read_settings(state=state)
    ledger = _ledger(settings)
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
    rows = _ledger(settings).machines(open_only=not everything)
    alive = {row.name: _alive(settings, row.life_id, row.name) for row in rows}
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


@plain
def fetch(
    batch: BatchArgument,
    to: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the results; made if need be.")],
    state: StateOption = None,
) -> None:
    """Copy the results of a batch, its manifest and its report to a folder; also while it runs."""
    settings = read_settings(state=state)
    row = _ledger(settings).batch(batch)
    _copy_results(settings, row, to)


@plain
def cancel(batch: BatchArgument, state: StateOption = None) -> None:
    """Stop a batch. What is done stays; `spotlift retry` works off the rest."""
    settings = read_settings(state=state)
    ledger = _ledger(settings)
    row = ledger.batch(batch)
    if row.state is BatchState.CANCELLED:
        out.print(f"{batch} is cancelled already.")
        return
    if row.state not in OPEN_BATCHES:
        raise UserError(f"{batch} is {row.state} already; there is nothing to stop")
    ledger.ask_cancel(row.id, _now())
    if stack.state_of(settings)[stack.CONTROL_WORKER]:
        until = time.monotonic() + 30
        with err.status(f"stopping {batch}"):
            while ledger.batch(row.id).state is BatchState.CANCELLING and time.monotonic() < until:
                time.sleep(0.2)
    else:
        ledger.cancelled(row.id, _now())
    out.print(f"{batch} is {ledger.batch(row.id).state}.")


@plain
def retry(
    batch: BatchArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has ended.")] = False,
    state: StateOption = None,
) -> None:
    """Work off what is missing of a batch that ended: rejected, cancelled and failed images, and new files."""
    settings = read_settings(state=state)
    ledger = _ledger(settings)
    row = ledger.batch(batch)
    if row.state in OPEN_BATCHES:
        raise UserError(f"{batch} is {row.state}: it goes on by itself" + _unless_up(settings))
    if row.state not in RETRYABLE_BATCHES:
        raise UserError(f"{batch} is {row.state}: nothing of it is missing")
    row = ledger.retry(row.id, _now())
    out.print(f"{batch} is in round {row.round}" + _unless_up(settings))
    if wait:
        ended = watch(settings, ledger, batch)
        _print_end(settings, ledger, ended)
        raise typer.Exit(0 if ended.state is BatchState.DONE else 1)


def _copy_results(settings: Settings, row: Batch, to: Path) -> None:
    """Copy what is new or newer in the outbox; each file appears whole."""
    source = settings.outbox_folder / row.name
    if not source.is_dir():
        raise UserError(
            f"{row.name} is {row.state} and has no results yet" + (f": {row.message}" if row.message else "")
        )
    copied = 0
    try:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            target = to / file.relative_to(source)
            if not _is_copy(target, file):
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = target.with_name(f".{target.name}.part")
                shutil.copy2(file, draft)
                draft.replace(target)
                copied += 1
    except OSError as error:
        raise UserError(f"stopped after {copied} files: {error}; the same command goes on from here") from error
    out.print(f"{copied} new files of {row.name} ({row.state}) copied to {to}")


def _is_copy(target: Path, file: Path) -> bool:
    """Whether `fetch` made it of this very file; copying keeps the time."""
    if not target.exists():
        return False
    have, want = target.stat(), file.stat()
    return (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns)


def _wish(
    settings: Settings, model: str | None, scale: int | None, output_format: str | None, note: str, tonight: bool
) -> Wish | None:
    """What the options ask for, checked as a batch.toml would be; None when they ask for nothing."""
    if model is not None and model not in shipped() and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().absolute())  # the watcher has another current folder
    options = {"model": model, "scale": scale, "output_format": output_format, "note": note, "tonight": tonight}
    given = {key: value for key, value in options.items() if value}
    if not given:
        return None
    wish = check_wish(given, "the options of submit", Wish(model=settings.model))
    model_checksum(wish.model, wish.scale)
    return wish


def _ledger(settings: Settings) -> Ledger:
    if settings.ledger is None and not (settings.state / "ledger.db").exists():
        raise UserError(f"there is no stack in {settings.state}: `spotlift up` makes one, or name another with --state")
    return Ledger(settings.ledger_url)


def _unless_up(settings: Settings) -> str:
    """What to do when nobody is watching the inbox."""
    return "" if all(stack.state_of(settings).values()) else " once the stack is up: `spotlift up`"


def _alive(settings: Settings, life: int, name: str) -> bool:
    from infra.processes import Processes

    return (
        Processes(settings.state / "lives" / str(life) / "run", settings.logs, str(settings.state)).find(name)
        is not None
    )


def _print_batches(settings: Settings, ledger: Ledger, rows: list[Batch]) -> None:
    if not rows:
        out.print(f"No batch yet. Hand one in with `spotlift submit SRC`{_unless_up(settings)}.")
        return
    table = Table("batch", "state", "images", "done", "rejected", "arrived", "took", box=None, header_style="dim")
    for row in rows:
        progress = ledger.progress(row.id)
        took = clock((row.finished_at - row.arrived_at).total_seconds()) if row.finished_at else ""
        counts = str(progress.images), str(progress.done), str(progress.rejected or "")
        table.add_row(row.name, _coloured(row.state), *counts, _when(row.arrived_at), took)
    for column in table.columns:
        column.no_wrap = True
    out.print(table)
    for row in rows:
        if advice := _next(settings, ledger, row):
            out.print(f"{row.name}: {advice}", markup=False)


def _print_batch(settings: Settings, ledger: Ledger, row: Batch) -> None:
    out.print(f"[bold]{row.name}[/bold] {_coloured(row.state)}  {sentence(ledger.progress(row.id))}")
    for line in (_next(settings, ledger, row), row.note):
        if line:
            out.print(line, markup=False)
    rejected = ledger.images(row.id, ImageState.REJECTED)
    for image in rejected[:20]:
        out.print(f"  [yellow]{image.name}[/yellow] {image.reason}: ", end="")
        out.print(image.message, markup=False)
    if len(rejected) > 20:
        out.print(f"  … and {len(rejected) - 20} more: `spotlift status {row.name} --json`, or the report")
    lost = [attempt for attempt in ledger.attempts(row.id) if attempt.end and attempt.end != "FINISHED"]
    for attempt in lost:
        out.print(f"  attempt {attempt.number} of a chunk ended as {attempt.end} on {attempt.machine or 'no machine'}")
    folder = settings.outbox_folder / row.name
    if folder.exists():
        out.print(f"results  {folder}")
    if (folder / "report.html").exists():
        out.print(f"report   {folder / 'report.html'}")


def _print_end(settings: Settings, ledger: Ledger, row: Batch) -> None:
    _print_batch(settings, ledger, row)
    at = stack.address(settings)
    if row.flow_run_id:
        out.print(f"run      {at.ui}/runs/flow-run/{row.flow_run_id}")


def _next(settings: Settings, ledger: Ledger, row: Batch) -> str:
    """What a user should know or do about a batch, in one line."""
    if row.state in OPEN_BATCHES and _unless_up(settings):
        return "goes on" + _unless_up(settings)
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


def _coloured(state: BatchState) -> str:
    colour = {BatchState.DONE: "green", BatchState.FAILED: "red", BatchState.DONE_WITH_REJECTS: "yellow"}.get(
        state, "cyan"
    )
    return f"[{colour}]{state}[/{colour}]"


def _when(moment: datetime) -> str:
    return moment.astimezone().strftime("%d %b %H:%M:%S")


def _now() -> datetime:
    return datetime.now(UTC)
