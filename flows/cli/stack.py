"""`spotlift up` and `spotlift down`: the local stack."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli.stacked import has_ledger
from flows.cli.talk import StateOption, err, out, plain
from infra import stack
from infra.brought_up import as_brought_up, changed, elsewhere, forget, remember, where
from infra.machines.errors import CloudError
from infra.settings import Settings, read_settings

if TYPE_CHECKING:  # Prefect and the tables take seconds to import
    from flows.runs import Runs
    from infra.records.tables import Lease

DEPLOY_DEADLINE = 180.0
WATCHER_DEADLINE = 120.0


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(up)
    app.command()(down)


@plain
def up(
    state: StateOption = None,
    port: Annotated[int | None, typer.Option(help="Port of the Prefect server and UI. [default: 4200]")] = None,
    emulator_port: Annotated[int | None, typer.Option(help="Port of the emulator. [default: 4201]")] = None,
    machines: Annotated[int | None, typer.Option(help="Machines to rent at most. [default: 2]")] = None,
) -> None:
    """Start the local stack, or mend it: Prefect server with UI, the worker that watches the inbox, and an emulator of
    Compute Engine to rent machines from (unless SPOTLIFT_CLOUD is google).

    Repeatable: what runs already is left alone. Machines start when there is work, and end when there is none.
    """
    settings = read_settings(state=state, port=port, emulator_port=emulator_port, machines=machines)
    bring_up(settings)
    at = stack.address(settings)
    inbox = escape(str(settings.inbox_folder))
    out.print(f"[green]The stack is up.[/green] UI [link={at.ui}]{at.ui}[/link], inbox {inbox}")
    out.print("Hand in a batch with `spotlift submit SRC --wait`; end everything with `spotlift down`.")


@plain
def down(state: StateOption = None) -> None:
    """End every process of the local stack, machines included. Batches in hand go on after the next `up`."""
    from flows.runs import Runs, ServerUnreachable
    from infra.machines.cloud import Cloud
    from infra.records import Ledger
    from infra.takedown import StillThere, settle

    asked = read_settings(state=state)
    settings = as_brought_up(asked)
    if difference := changed(asked):
        err.print(f"The stack was brought up with {difference}: that is what is taken down.", markup=False)
    left = list[str]()
    with err.status("ending the stack") as status:
        try:
            lived = stack.stop_work(settings)
            if settings.cloud == "emulator" and has_ledger(settings):
                stack.start_emulator(settings)  # if it died, it ends the machines that it left when it comes up again
            if has_ledger(settings):  # else there never was one: nothing to settle
                left = settle(
                    partial(Ledger, settings.ledger_url),
                    Cloud.at(settings.project, stack.endpoint(settings)),
                    where(settings),
                    status.update,
                )
            with suppress(ServerUnreachable):  # it had died; the next `up` finds out
                Runs.of(settings).declare_taken_down()
            forget(settings)
        finally:  # whatever went wrong: `down` leaves nothing running
            stack.stop_server(settings)
    out.print("The stack is down." if lived else "The stack was not up; nothing to do.")
    if left:
        raise StillThere("\n".join(left))


def bring_up(settings: Settings) -> None:
    """Folders, ledger, server, deployments, control worker: each started or mended if need be."""
    from flows.leases import WATCHER
    from flows.runs import WATCH_INBOX, Runs
    from infra.pool.plan import PoolPlan
    from infra.records import Ledger

    if (difference := changed(settings)) and _is_in_use(as_brought_up(settings)):
        raise stack.StackError(
            f"this stack was brought up with {difference}, and may have machines there: "
            "`spotlift down` gives them back, then bring it up anew"
        )
    _check_the_cloud(settings)
    _make_folders(settings)
    with err.status("preparing the ledger") as status:
        ledger = Ledger(settings.ledger_url)
        ledger.migrate()
        for life in ledger.lives(open_only=True):
            if away := elsewhere(life.id, life.details, where(settings)):
                raise stack.StackError(away)
        remember(settings)
        status.update("starting the Prefect server")
        at = stack.start_server(settings, say=lambda _: None)
        runs = Runs.of(settings)
        status.update("registering the flows")
        runs.ensure_work_pool(stack.CONTROL_POOL, "Always on: the watcher, the keeper of the pool")
        runs.ensure_work_pool(stack.GPU_POOL, "Has workers and machines only while there is work")
        _deploy(settings, at, runs.missing())
        _offer_the_plan(settings, runs, {"plan": PoolPlan.of(settings).model_dump(mode="json")})
        if settings.cloud == "emulator":
            status.update("starting the emulator of Compute Engine")
            stack.start_emulator(settings)
        status.update("starting the control worker")
        if not stack.state_of(settings)[stack.CONTROL_WORKER]:
            # Runs that outlived their worker hold a lease; the others died with it, and nobody has said so.
            alive = {lease.holder for lease in ledger.leases() if lease.until > datetime.now(UTC)}
            runs.declare_all_crashed("its worker died", spare=alive)
            stack.start_control_worker(settings)
        if not runs.living(WATCH_INBOX):
            runs.start(WATCH_INBOX)
        status.update("waiting for the watcher of the inbox")
        _wait_for_the_watcher(settings, lambda: ledger.lease(WATCHER))


def _is_in_use(settings: Settings) -> bool:
    """Whether the stack runs, or a life of its pool, opened with these settings, is not closed. Raises LedgerError."""
    from infra.records import Ledger

    if any(stack.state_of(settings).values()):
        return True
    if not has_ledger(settings):
        return False
    lives = Ledger(settings.ledger_url).lives(open_only=True)
    return any(not elsewhere(life.id, life.details, where(settings)) for life in lives)


def _wait_for_the_watcher(settings: Settings, watcher: "Callable[[], Lease | None]") -> None:
    """Wait until the inbox is watched: a server that has just started takes its time. Raises StackError."""
    processes = stack.stack_processes(settings)

    def watched() -> bool:
        lease = watcher()
        return lease is not None and lease.until > datetime.now(UTC)

    stack.wait_for(watched, processes, stack.CONTROL_WORKER, "the watcher of the inbox", WATCHER_DEADLINE)


def _check_the_cloud(settings: Settings) -> None:
    """See early what would keep every life of the pool from opening: prices, and who we are. Raises StackError."""
    from infra.machines.prices import PricesError, read_prices

    try:
        read_prices(settings.prices)
        if settings.cloud == "google":
            from infra.machines.cloud import Cloud

            Cloud.at(settings.project).close()
    except (PricesError, CloudError) as error:
        raise stack.StackError(str(error)) from error


def _offer_the_plan(settings: Settings, runs: "Runs", parameters: dict[str, Any]) -> None:
    """Let the form of spot-pool begin with the plan of the settings; what people saved in the UI since stays."""
    from flows.runs import SPOT_POOL

    stamp, wanted = _offered(settings), json.dumps(parameters)
    if not stamp.exists() or stamp.read_text() != wanted:
        runs.set_parameters(SPOT_POOL, parameters)
        stamp.write_text(wanted)


def _offered(settings: Settings) -> Path:
    """Where the plan is noted that the form of spot-pool was last given."""
    return settings.state / "prefect" / "offered-plan.json"


def _make_folders(settings: Settings) -> None:
    for what, folder in (
        ("state", settings.state),
        ("inbox", settings.inbox_folder),
        ("outbox", settings.outbox_folder),
        ("state", settings.work_folder),
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise stack.StackError(
                f"the folder {folder} cannot be made ({error.strerror}): choose another {what} folder "
                f"with SPOTLIFT_{what.upper()}"
            ) from error


def _deploy(settings: Settings, at: stack.Address, missing: list[str]) -> None:
    """Register the deployments of prefect.yaml, unless the server has them all, from this very file."""
    file = prefect_yaml()
    stamp = settings.state / "prefect" / "deployed"
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()
    if not missing and stamp.exists() and stamp.read_text() == wanted:
        return
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
        env=stack.environment(settings),
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=DEPLOY_DEADLINE,
        check=False,
    )
    if done.returncode:
        raise stack.StackError(
            f"the flows could not be registered at {at.api}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    stamp.write_text(wanted)
    _offered(settings).unlink(missing_ok=True)  # the form is as prefect.yaml has it


def prefect_yaml() -> Path:
    """The project's prefect.yaml: beside the packages in a checkout, inside this package when installed."""
    import flows

    package = Path(flows.__file__).parent
    beside = package.parent / "prefect.yaml"
    return beside if beside.exists() else package / "prefect.yaml"
