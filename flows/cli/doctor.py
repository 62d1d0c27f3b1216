"""`spotlift doctor`: the settings in force, and everything that is wrong, each with what to do."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import typer
from rich.markup import escape
from rich.table import Table

from flows.cli.finding import Finding
from flows.cli.stacked import has_ledger
from flows.cli.talk import JsonOption, StateOption, out, plain, print_json
from flows.models import lineup_of
from infra import arrivals, stack
from infra.arrivals import Wish, WishError
from infra.brought_up import changed
from infra.machines.prices import PricesError, read_prices
from infra.pool.certificates import LONGEST_LIFE
from infra.processes import marked
from infra.records import Ledger, LedgerError
from infra.settings import Settings, read_settings

FREE_BYTES = 2 << 30
"""Free disk below which a batch may fail half-way."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(doctor)


@plain
def doctor(as_json: JsonOption = False, state: StateOption = None) -> None:
    """Print the settings and say what is wrong and what to do. The exit code is 1 when something is wrong."""
    settings = read_settings(state=state)
    findings = list(examine(settings))
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if as_json:
        print_json({"settings": settings.shown(), "findings": [asdict(f) for f in findings]})
    else:
        _print_settings(settings)
        for finding in findings:
            mark = {"ok": "[green]✓[/green]", "note": "[cyan]·[/cyan]", "wrong": "[red]✗[/red]"}[finding.verdict]
            out.print(f"{mark} {finding.what}:", end=" ")
            out.print(finding.message, markup=False)
        out.print("[red]Something is wrong.[/red]" if wrong else "[green]Nothing is wrong.[/green]")
    raise typer.Exit(1 if wrong else 0)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything in the order in which things depend on each other."""
    examinations: list[Callable[[Settings], Iterator[Finding]]] = [
        _packages,
        _folders,
        _brought_up,
        _prices,
        _model,
        _ledger,
        _running,
        _leftovers,
        _inbox,
    ]
    for examination in examinations:
        yield from examination(settings)


def _packages(_: Settings) -> Iterator[Finding]:
    """TensorFlow by its metadata: importing it would take seconds."""
    for names in (("tensorflow-cpu", "tensorflow"), ("prefect",), ("distributed",), ("keras",)):
        found = [f"{name} {found}" for name in names if (found := _version(name))]
        if found:
            yield Finding("package", "ok", ", ".join(found))
        else:
            yield Finding(
                "package",
                "wrong",
                f"{names[0]} is not installed: install spotlift[cpu,controller], or run `make setup`",
            )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folders(settings: Settings) -> Iterator[Finding]:
    for what, folder in (
        ("state", settings.state),
        ("inbox", settings.inbox_folder),
        ("outbox", settings.outbox_folder),
    ):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding(what, "wrong", f"{folder} cannot be written: choose another with SPOTLIFT_{what.upper()}")
        elif not folder.exists():
            yield Finding(what, "note", f"{folder} is not there yet; `spotlift up` makes it")
        else:
            yield Finding(what, "ok", str(folder))
    free = shutil.disk_usage(next(path for path in (settings.state, *settings.state.parents) if path.exists())).free
    verdict: Literal["ok", "wrong"] = "ok" if free > FREE_BYTES else "wrong"
    yield Finding("disk", verdict, f"{free / 2**30:.1f} GiB free" + ("" if verdict == "ok" else ": make room"))


def _brought_up(settings: Settings) -> Iterator[Finding]:
    if difference := changed(settings):
        then = "use these settings with it, or end it with `spotlift down`"
        yield Finding("settings", "wrong", f"this stack was brought up with {difference}: {then}")


def _prices(settings: Settings) -> Iterator[Finding]:
    try:
        as_of = read_prices(settings.prices).as_of
        yield Finding("prices", "ok", f"{settings.prices or 'the shipped list'}, as of {as_of}")
    except PricesError as error:
        yield Finding("prices", "wrong", str(error))


def _model(settings: Settings) -> Iterator[Finding]:
    try:
        lineup = lineup_of(Wish(model=settings.model), settings)
        size = sum(model.path.stat().st_size for model in lineup.files) / 1024
    except (WishError, OSError) as error:
        yield Finding("model", "wrong", str(error))
        return
    files = " and ".join(model.path.name for model in lineup.files)
    yield Finding("model", "ok", f"{lineup.name}: {files} ({size:.0f} KiB)")


def _ledger(settings: Settings) -> Iterator[Finding]:
    if not has_ledger(settings):
        yield Finding("ledger", "note", "not there yet; `spotlift up` makes it")
        return
    try:
        ledger = Ledger(settings.ledger_url)
        batches = ledger.batches()
        yield Finding("ledger", "ok", f"{len(batches)} batches in {settings.shown()['ledger'] or ledger.name}")
        now = datetime.now(UTC)
        for life in ledger.lives(open_only=True):
            if now - life.opened_at > LONGEST_LIFE:
                yield Finding(
                    "pool",
                    "wrong",
                    f"life {life.id} is older than its certificates: `spotlift down`, `spotlift up`",
                )
    except LedgerError as error:
        yield Finding("ledger", "wrong", str(error))


def _running(settings: Settings) -> Iterator[Finding]:
    from flows.cli.watched import examine_running  # it takes a second to import Prefect, and others need none

    yield from examine_running(settings)


def _leftovers(settings: Settings) -> Iterator[Finding]:
    """Machines and other processes that nobody keeps."""
    if not any(stack.state_of(settings).values()) and (left := marked(str(settings.state))):
        pids = ", ".join(map(str, left))
        yield Finding(
            "orphans",
            "wrong",
            f"processes of this stack run without it (pids {pids}): `spotlift down` ends them",
        )


def _inbox(settings: Settings) -> Iterator[Finding]:
    if strays := arrivals.strays(settings.inbox_folder):
        yield Finding("inbox", "note", f"{', '.join(strays[:5])}: neither folder nor zip, so nobody takes it")


def _print_settings(settings: Settings) -> None:
    table = Table("setting", "value", "", box=None, header_style="dim")
    shown = settings.shown()
    for name, field in Settings.model_fields.items():
        value = "–" if shown[name] is None else str(shown[name])
        table.add_row(name, escape(value), f"[dim]{escape(field.description or '')}[/dim]")
    out.print(table)
