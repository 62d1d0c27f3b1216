"""`spotlift emulator …`: Compute Engine on this computer, and trouble for it by hand.

It needs neither Prefect nor the ledger, and does not import them, so that trouble comes quickly.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.cli.talk import JsonOption, StateOption, UserError, out, print_json
from infra.emulator.remote import EmulatorError, Remote
from infra.settings import Settings, SettingsError, read_settings

app = typer.Typer(no_args_is_help=True, help="Compute Engine on this computer: look at its machines, make trouble.")

EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", help="Where the emulator answers. [default: that of the local stack]")
]
ForOption = Annotated[float | None, typer.Option("--for", help="Seconds that it lasts. [default: until --off]")]
TimesOption = Annotated[int | None, typer.Option("--times", help="How often it happens. [default: always]")]
OffOption = Annotated[bool, typer.Option("--off", help="End it.")]
NoticeOption = Annotated[float, typer.Option("--notice", help="Seconds between the notice and the end.")]
NoNoticeOption = Annotated[bool, typer.Option("--no-notice", help="At once, without any notice.")]

KINDS = ("rate_limit", "unavailable", "lose_answer", "delete_fails", "slow_boot", "no_boot", "preempt_early")


def add_to(parent: typer.Typer) -> None:
    """Register the commands of this module."""
    parent.add_typer(app, name="emulator")


def _settings(state: Path | None) -> Settings:
    try:
        return read_settings(state=state)
    except SettingsError as error:
        raise UserError(str(error)) from error


def _remote(endpoint: str | None, state: Path | None) -> Remote:
    from infra import stack

    found = endpoint or stack.endpoint(_settings(state))
    if found is None:
        raise UserError("machines are rented from Google here, so there is no emulator; name one with --endpoint")
    return Remote(found)


def _order(endpoint: str | None, state: Path | None, fault: str, **details: Any) -> None:
    """Give an order; details that are None or False do not count."""
    given = {key: value for key, value in details.items() if value is not None and value is not False}
    try:
        _remote(endpoint, state).order(fault, **given)
    except EmulatorError as error:
        raise UserError(str(error)) from error


@app.command()
def run(
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0: any. [default: 4201]")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of its own. [default: .spotlift/emulator]")] = None,
    script: Annotated[Path | None, typer.Option(help="TOML file with trouble to make, and when.")] = None,
    processes: Annotated[bool, typer.Option(help="Run the machines' startup scripts.")] = True,
) -> None:
    """Run an emulator in the foreground, until Ctrl-C."""
    from infra.emulator import __main__ as emulator

    settings = _settings(None)
    options = ["--port", str(settings.emulator_port if port is None else port)]
    options += ["--state", str(state or settings.state / "emulator")]
    options += [] if script is None else ["--script", str(script)]
    options += [] if processes else ["--no-processes"]
    raise typer.Exit(emulator.main(options))


@app.command("list")
def list_machines(endpoint: EndpointOption = None, state: StateOption = None, json: JsonOption = False) -> None:
    """Its machines, and the trouble that it is in."""
    remote = _remote(endpoint, state)
    try:
        machines, faults = remote.machines(), remote.faults()
    except EmulatorError as error:
        raise UserError(str(error)) from error
    if json:
        print_json({"machines": machines, "faults": faults})
        return
    table = Table("machine", "zone", "type", "status", "booted", "preempted")
    for it in machines:
        signs = ("yes" if it[sign] else "" for sign in ("booted", "preempted"))
        table.add_row(it["name"], it["zone"], it["machine_type"], it["status"], *signs)
    out.print(table if machines else "There are no machines.")
    for fault in faults:
        details = ", ".join(f"{key} {value}" for key, value in fault.items() if key != "fault")
        out.print(f"trouble: {fault['fault']} ({details})", markup=False)


@app.command()
def preempt(
    name: Annotated[str, typer.Argument(help="Name of the machine, or `all`.")],
    notice: NoticeOption = 30.0,
    no_notice: NoNoticeOption = False,
    endpoint: EndpointOption = None,
    state: StateOption = None,
) -> None:
    """Take a spot machine away, as Compute Engine does."""
    whom: dict[str, Any] = {"all": True} if name == "all" else {"name": name}
    try:
        _remote(endpoint, state).order("preempt", **whom, notice=None if no_notice else notice)
    except EmulatorError as error:
        raise UserError(str(error)) from error
    out.print(f"{name}: gone" if no_notice else f"{name}: has its notice, and {notice:g} s", markup=False)


@app.command()
def stockout(
    zone: Annotated[str, typer.Argument(help="us-central1-a, …")],
    seconds: ForOption = None,
    times: TimesOption = None,
    available: Annotated[
        str | None, typer.Option(help="Zones, separated by commas, that the error says have some.")
    ] = None,
    off: OffOption = False,
    endpoint: EndpointOption = None,
    state: StateOption = None,
) -> None:
    """Let a zone have no machines."""
    zones = None if available is None else [it.strip() for it in available.split(",") if it.strip()]
    _order(endpoint, state, "stockout", zone=zone, seconds=seconds, times=times, zones_available=zones, off=off)


@app.command()
def unreachable(
    zone: Annotated[str, typer.Argument(help="us-central1-a, …")],
    seconds: ForOption = None,
    off: OffOption = False,
    endpoint: EndpointOption = None,
    state: StateOption = None,
) -> None:
    """Let listings say nothing about a zone."""
    _order(endpoint, state, "unreachable", zone=zone, seconds=seconds, off=off)


@app.command()
def quota(
    metric: Annotated[str, typer.Argument(help="PREEMPTIBLE_NVIDIA_L4_GPUS, GPUS_ALL_REGIONS, …")],
    limit: Annotated[float | None, typer.Argument(help="How many. [default: as at first]")] = None,
    region: Annotated[str | None, typer.Option(help="Region, for all quotas but GPUS_ALL_REGIONS.")] = None,
    endpoint: EndpointOption = None,
    state: StateOption = None,
) -> None:
    """Set how much of something the project may have."""
    _order(endpoint, state, "quota", metric=metric, limit=limit, region=region)


@app.command()
def fault(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    times: TimesOption = None,
    seconds: ForOption = None,
    delay: Annotated[float | None, typer.Option(help="Of slow_boot: seconds that booting takes longer.")] = None,
    how: Annotated[str | None, typer.Option(help="Of delete_fails: operation or http.")] = None,
    off: OffOption = False,
    endpoint: EndpointOption = None,
    state: StateOption = None,
) -> None:
    """Let requests, boots or deletions go wrong."""
    if kind not in KINDS:
        raise UserError(f"there is no fault {kind!r}; known are {', '.join(KINDS)}")
    if kind == "slow_boot" and delay is None and not off:
        raise UserError("slow_boot needs --delay SECONDS")
    delay = 0.0 if kind == "slow_boot" and delay is None else delay
    _order(endpoint, state, kind, times=times, seconds=seconds, delay=delay, how=how, off=off)


@app.command()
def calm(endpoint: EndpointOption = None, state: StateOption = None) -> None:
    """End all trouble."""
    try:
        _remote(endpoint, state).calm()
    except EmulatorError as error:
        raise UserError(str(error)) from error
