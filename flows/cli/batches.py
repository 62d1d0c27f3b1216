"""`submit`, `fetch`, `cancel`, `retry`: what people do with batches."""

import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flows.cli.showing import print_end
from flows.cli.stacked import ledger_of, settings_of, unless_up
from flows.cli.talk import StateOption, UserError, err, expanded, out, plain
from flows.cli.watching import watch
from flows.models import checksum_of, lineup_of
from flows.registering import to_do
from infra import stack
from infra.arrivals import Wish, check_wish, find_wish, find_wish_in_zip, hand_in, read_wish
from infra.arrivals.names import is_zip_name
from infra.records import Batch, Ledger
from infra.settings import Settings
from infra.states import OPEN_BATCHES, BatchState
from workers.catalogue import MODELS, shipped

BatchArgument = Annotated[str, typer.Argument(help="Name of the batch, as `spotlift status` shows it.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (submit, fetch, cancel, retry):
        app.command()(command)


@plain
def submit(
    source: Annotated[Path, typer.Argument(help="Folder, zip or single image.")],
    name: Annotated[str | None, typer.Option(help="Name of the batch. [default: that of SOURCE]")] = None,
    model: Annotated[str | None, typer.Option(help=f"{MODELS} [default: auto]")] = None,
    output_format: Annotated[
        str | None, typer.Option("--format", help="png, jpeg, webp, tiff, bmp, gif. [default: as is]")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="How many times larger; the model must be made for it. [default: 2]")
    ] = None,
    note: Annotated[str | None, typer.Option(help="A remark that stays with the batch.")] = None,
    tonight: Annotated[
        bool,
        typer.Option(
            "--tonight", help="Mark it for the night run: remembered; there is none yet, so it is worked off at once."
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show progress until it has ended; exit 0 only if every image is enhanced."),
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--fetch", metavar="DEST", help="With --wait: copy the results to this folder.")
    ] = None,
    take_one_away: Annotated[
        bool,
        typer.Option("--take-one-away", help="With --wait: have a machine preempted half-way, to see what happens."),
    ] = False,
    state: StateOption = None,
) -> None:
    """Put a batch into the inbox. The watcher takes it within seconds.

    The options are laid over what a batch.toml in SOURCE says.
    """
    if to is not None and not wait:
        raise UserError("--fetch copies the results at the end, so it needs --wait; or use `spotlift fetch` later")
    if take_one_away and not wait:
        raise UserError("--take-one-away happens while the batch is watched, so it needs --wait")
    settings = settings_of(state)
    ledger = ledger_of(settings)
    source = expanded(source)
    options = {
        "model": _findable(model), "scale": scale, "output_format": output_format, "note": note,
        "tonight": tonight or None,
    }  # fmt: skip
    wish = _wish(settings, source, {key: value for key, value in options.items() if value is not None})

    def taken(wanted: str) -> bool:
        """A ledger that was lost leaves results behind; they belong to another batch."""
        return ledger.find_batch(wanted) is not None or (settings.outbox_folder / wanted).exists()

    batch = hand_in(source, settings.inbox_folder, name, wish, taken)
    renamed = f" (the name {name or source.stem} is taken)" if batch not in (name, source.stem, source.name) else ""
    out.print(f"[bold]{escape(batch)}[/bold] is in the inbox{escape(renamed)}.")
    if tonight:
        out.print("That it is for tonight is remembered; there is no night run yet, so it is worked off at once.")
    if not wait:
        out.print(f"Follow it with `spotlift status {batch}`" + unless_up(settings))
        return
    if unless_up(settings):
        raise UserError("the stack is not up, so nobody takes the batch: start it with `spotlift up`")
    ended = _watch_disturbed(settings, ledger, batch) if take_one_away else watch(settings, ledger, batch)
    print_end(settings, ledger, ended)
    if to is not None:
        _copy_results(settings, ended, to)
    raise typer.Exit(0 if ended.state is BatchState.DONE else 1)


@plain
def fetch(
    batch: BatchArgument,
    to: Annotated[Path, typer.Argument(metavar="DEST", help="Folder for the results; made if need be.")],
    state: StateOption = None,
) -> None:
    """Copy the results of a batch, its manifest and its report to a folder; also while it runs."""
    settings = settings_of(state)
    row = ledger_of(settings).batch(batch)
    _copy_results(settings, row, to)


@plain
def cancel(batch: BatchArgument, state: StateOption = None) -> None:
    """Stop a batch. What is done stays; `spotlift retry` works off the rest."""
    settings = settings_of(state)
    ledger = ledger_of(settings)
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
    settings = settings_of(state)
    ledger = ledger_of(settings)
    row = ledger.batch(batch)
    if row.state in OPEN_BATCHES:
        raise UserError(f"{batch} is {row.state}: it goes on by itself" + unless_up(settings))
    if to_do(ledger, settings, row) == 0:
        raise UserError(f"{batch} is {row.state}: nothing of it is missing, and no image was added in the inbox")
    row = ledger.retry(row.id, _now())
    out.print(f"{batch} is in round {row.round}" + unless_up(settings))
    if wait:
        ended = watch(settings, ledger, batch)
        print_end(settings, ledger, ended)
        raise typer.Exit(0 if ended.state is BatchState.DONE else 1)


def _watch_disturbed(settings: Settings, ledger: Ledger, batch: str) -> Batch:
    """Watch a batch, and have a machine taken away half-way."""
    from flows.cli.disturbing import Disturbance  # Google's client takes a second to import

    if not settings.spot:
        raise UserError("only spot machines are taken away, and SPOTLIFT_SPOT is false: leave out --take-one-away")
    disturbance = Disturbance(settings, ledger)
    ended = watch(settings, ledger, batch, disturbance.look)
    disturbance.tell()
    return ended


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
    out.print(f"{copied} new files of {row.name} ({row.state}) copied to {to}", markup=False)


def _is_copy(target: Path, file: Path) -> bool:
    """Whether `fetch` made it of this very file; copying keeps the time."""
    if not target.exists():
        return False
    have, want = target.stat(), file.stat()
    return (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns)


def _findable(model: str | None) -> str | None:
    """The model such that the watcher finds it, which has another current folder."""
    if model is None or shipped().knows(model):
        return model
    path = expanded(Path(model))
    return str(path.absolute()) if path.exists() else model


def _wish(settings: Settings, source: Path, options: Mapping[str, Any]) -> Wish | None:
    """What the options ask for, laid over the source's own wish and checked as a batch.toml would be.

    None without options: the source's own batch.toml counts as it is. Raises ArrivalError.
    """
    if not options:
        return None
    base = Wish(model=settings.model)
    if source.is_dir():
        base = read_wish(*find_wish(source), base)
    elif source.is_file() and is_zip_name(source.name):
        base = read_wish(*find_wish_in_zip(source), base)
    wish = check_wish(options, "the options of submit", base)
    checksum_of(lineup_of(wish, settings))
    return wish


def _now() -> datetime:
    return datetime.now(UTC)
