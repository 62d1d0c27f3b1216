"""One life of the pool: bring up machines and the worker of `spot-gpu`, keep them while there is work, end."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from flows.leases import KEEPER, KEEPER_SECONDS
from flows.runs import PROCESS_BATCH, Runs, ServerUnreachable
from infra.pool.local import LocalPool, PoolFailed
from infra.processes import ProcessDied
from infra.records import Ledger
from infra.records.tables import Life
from infra.settings import Settings, read_settings
from infra.stack import GPU_POOL, StackError, environment, worker_command
from infra.states import LifeEnd, LifeState

LOOK_EVERY: Final = 0.5
WORKER: Final = "spot-gpu-worker"


@flow(name="spot-pool", flow_run_name="pool life", retries=0)
def spot_pool() -> str:
    """One life of the pool. Ends when there has been no work for the whole idle window; returns why it ended."""
    settings = read_settings()
    ledger = Ledger(settings.ledger_url)
    holder = str(flow_run.id)
    say = get_run_logger().info
    if not ledger.hold(KEEPER, holder, KEEPER_SECONDS, _now()):
        return "another keeper is at work"
    try:
        return live(settings, ledger, holder, say)
    finally:
        ledger.let_go(KEEPER, holder)


def live(settings: Settings, ledger: Ledger, holder: str, say: Callable[[str], None]) -> str:
    """Open or adopt a life of the pool, keep it while there is work, close it."""
    life = _life(ledger, holder, say)
    pool = LocalPool(settings, ledger, life)
    end = LifeEnd.FAILED
    try:
        pool.open(_now())
        say(f"life {life.id} of the pool is open")
        end = _keep(settings, ledger, pool, holder, say)
        return f"life {life.id} ended: {end}"
    except (StackError, ProcessDied) as error:
        raise PoolFailed(str(error)) from error
    finally:
        pool.close(end, _now())
        _write_diary(ledger, life.id)
        say(f"life {life.id} of the pool is closed ({end}); every machine was given back")


def _life(ledger: Ledger, holder: str, say: Callable[[str], None]) -> Life:
    """A new life; or the one that a dead keeper left, whose machines and scheduler may still serve."""
    for old in ledger.lives(open_only=True):
        if old.state is not LifeState.CLOSING:
            say(f"life {old.id} of the pool goes on with this keeper")
            return old
        LocalPool(read_settings(), ledger, old).close(LifeEnd.REPLACED, _now())
    life = ledger.open_life(_now(), flow_run_id=holder)
    if life is None:
        raise PoolFailed("another life of the pool was opened at this moment; this run is not needed")
    return life


@dataclass
class _Window:
    """The idle window: how long there has been no work."""

    length: timedelta
    since: datetime | None = None

    def is_over(self, busy: bool, now: datetime) -> bool:
        self.since = None if busy else self.since or now
        return self.since is not None and now - self.since >= self.length


def _keep(settings: Settings, ledger: Ledger, pool: LocalPool, holder: str, say: Callable[[str], None]) -> LifeEnd:
    """Look, decide, act, until the idle window is over or somebody else holds the lease."""
    window = _Window(timedelta(seconds=settings.idle_window))
    while True:
        now = _now()
        if not ledger.hold(KEEPER, holder, KEEPER_SECONDS, now):
            return LifeEnd.REPLACED
        pool.processes.start(WORKER, worker_command(GPU_POOL, f"life-{pool.life.id}"), environment(settings))
        pool.step(now, say)
        if window.is_over(_has_work(ledger), now):
            _stop_taking(settings, pool)
            if not _has_work(ledger):
                return LifeEnd.IDLE
        time.sleep(LOOK_EVERY)


def _has_work(ledger: Ledger) -> bool:
    return bool(ledger.batches(open_only=True))


def _stop_taking(settings: Settings, pool: LocalPool) -> None:
    """End the worker before its machines, so that it takes no batch that arrives while the pool closes."""
    pool.processes.stop([WORKER])
    runs = Runs.of(settings)
    with suppress(ServerUnreachable):  # then the watcher finds out by itself, but later
        for run in runs.living(PROCESS_BATCH):
            if run.state_type is StateType.PENDING:
                runs.declare_crashed(run.id, "it was taken by a pool that was about to end")


def _write_diary(ledger: Ledger, life: int) -> None:
    """What happened in this life, as an artifact of the run."""
    lines = [f"| {event.at:%H:%M:%S} | {event.message} |" for event in ledger.events(life_id=life)]
    table = "\n".join(["| time (UTC) | what happened |", "| --- | --- |", *lines])
    create_markdown_artifact(table, key=f"pool-life-{life}", description=f"Diary of life {life} of the pool")


def _now() -> datetime:
    return datetime.now(UTC)
