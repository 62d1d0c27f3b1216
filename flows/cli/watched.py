"""Finds out for `spotlift doctor` whether server, watcher and keeper do what they are there for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from prefect.client.schemas.objects import FlowRun

from flows.cli.finding import Finding
from flows.cli.stacked import has_ledger, listing_of
from flows.leases import KEEPER, WATCHER
from flows.runs import WATCH_INBOX, Runs, ServerUnreachable
from infra import stack
from infra.machines.errors import CloudError
from infra.pool.market import spec_of
from infra.pool.plan import PoolPlan
from infra.pool.reconcile import unknown
from infra.records import Ledger, LedgerError
from infra.settings import Settings

WATCHER_BEGINS_WITHIN = timedelta(seconds=60)
"""A watcher's run that holds no lease after this time does not begin any more, or has died."""


def examine_running(settings: Settings) -> Iterator[Finding]:
    """Look at the server, then at what runs by it."""
    yield from _server(settings)
    yield from _watcher(settings)
    yield from _keeper(settings)
    yield from _cloud(settings)


def _server(settings: Settings) -> Iterator[Finding]:
    state, at = stack.state_of(settings), stack.address(settings)
    if not state[stack.SERVER]:
        if why := stack.why_not_listen(at):
            yield Finding("Prefect server", "wrong", why)
        else:
            yield Finding("Prefect server", "note", "not running; `spotlift up` starts it")
        return
    if not stack.answers(at):
        log = settings.logs / f"{stack.SERVER}.log"
        yield Finding("Prefect server", "wrong", f"runs but does not answer at {at.api}: see {log}")
        return
    yield Finding("Prefect server", "ok", at.ui)
    try:
        if missing := Runs.of(settings).missing():
            lost = ", ".join(missing)
            yield Finding("deployments", "wrong", f"the server has lost {lost}: `spotlift up` registers them again")
    except ServerUnreachable as error:
        yield Finding("Prefect server", "wrong", str(error))


def _watcher(settings: Settings) -> Iterator[Finding]:
    """Whether the inbox is watched: a worker that lives may run no watcher, and only the watcher renews its lease."""
    state = stack.state_of(settings)
    if not state[stack.SERVER]:
        return
    if not state[stack.CONTROL_WORKER]:
        yield Finding("control worker", "wrong", "has died, so nobody watches the inbox: `spotlift up` starts it again")
        return
    now = datetime.now(UTC)
    try:
        if _is_held(settings, WATCHER, now):
            yield Finding("control worker", "ok", "running, and the inbox is watched")
            return
        run = Runs.of(settings).latest(WATCH_INBOX)
    except (LedgerError, ServerUnreachable):
        yield Finding("control worker", "note", "running; whether the inbox is watched cannot be told, see above")
        return
    yield unwatched(run, stack.address(settings), now)


def unwatched(run: FlowRun | None, at: stack.Address, now: datetime) -> Finding:
    """Why nobody watches the inbox, by the watcher's latest run."""
    nobody = "running, but nobody watches the inbox"
    if run is None or run.state is None:
        return Finding("control worker", "wrong", f"{nobody}: no watcher was ever started; `spotlift up` starts one")
    page = f"{at.ui}/runs/flow-run/{run.id}"
    if run.state.is_final():
        said = f": {run.state.message}" if run.state.message else ""
        how = f"the latest run of watch-inbox ended as {run.state.type.value}{said}"
        return Finding("control worker", "wrong", f"{nobody}: {how}. See {page}; `spotlift up` starts another")
    if now - run.state.timestamp < WATCHER_BEGINS_WITHIN:
        return Finding("control worker", "note", "running, and the watcher is starting")
    how = f"the latest run of watch-inbox is {run.state.type.value}, but gives no sign of life"
    return Finding(
        "control worker", "wrong", f"{nobody}: {how}. See {page}; if it stays, `spotlift down`, `spotlift up`"
    )


def _keeper(settings: Settings) -> Iterator[Finding]:
    """Whether somebody keeps the life of the pool that is open."""
    if not has_ledger(settings):
        return
    try:
        life = Ledger(settings.ledger_url).current_life()
        if life is None or _is_held(settings, KEEPER, datetime.now(UTC)):
            return
    except LedgerError:
        return  # doctor has told of it
    if all(stack.state_of(settings).values()):
        then = "the watcher calls one within seconds; if this stays, `spotlift down`, `spotlift up`"
    else:
        then = "`spotlift down` closes it, `spotlift up` goes on with it"
    yield Finding("pool", "note", f"life {life.id} is open, but nobody keeps it: {then}")


def _cloud(settings: Settings) -> Iterator[Finding]:
    """Whether machines can be rented, and whether any is there that no row knows."""
    where = "Google" if settings.cloud == "google" else "the emulator"
    if settings.cloud == "emulator" and not stack.state_of(settings)[stack.EMULATOR]:
        up = any(stack.state_of(settings).values())
        yield Finding("cloud", "wrong" if up else "note", "the emulator does not run; `spotlift up` starts it")
        return
    from infra.machines.cloud import Cloud  # Google's client takes a second to import

    plan = PoolPlan.of(settings)
    try:
        listing = listing_of(settings)
        cloud = Cloud.at(settings.project, stack.endpoint(settings))
        offered = set(cloud.zones_with(spec_of(settings, plan))) & set(plan.zones)
    except CloudError as error:
        yield Finding("cloud", "wrong", f"{where}: {error}")
        return
    if not offered:
        yield Finding("cloud", "wrong", f"none of the zones {', '.join(plan.zones)} offers {plan.machine_type}")
    else:
        yield Finding("cloud", "ok", f"{where}, {plan.machine_type} in {', '.join(sorted(offered))}")
    if not has_ledger(settings):
        return
    try:
        ledger = Ledger(settings.ledger_url)
        strangers = unknown(listing, {row.name for row in ledger.machines(open_only=True)})
        life = ledger.current_life()
    except LedgerError:
        return  # doctor has told of it
    for instance in strangers:
        then = "the keeper gives it back a minute after it found it; `spotlift down` does so too"
        yield Finding("orphan", "wrong", f"{instance.name} in {instance.zone} runs, and no row knows it: {then}")
    if life is not None and life.details.get("waits"):
        yield Finding("pool", "wrong" if life.details.get("for_good") else "note", str(life.details["waits"]))


def _is_held(settings: Settings, lease: str, now: datetime) -> bool:
    """Whether a living run holds the lease. Raises LedgerError."""
    found = Ledger(settings.ledger_url).lease(lease)
    return found is not None and found.until > now
