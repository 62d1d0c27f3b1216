"""One life of the pool: bring up machines and the worker of `spot-gpu`, keep them while there is work, end."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from flows.diary import Diary, DiaryArtifact
from flows.leases import KEEPER, KEEPER_SECONDS, KeptLease
from flows.runs import PROCESS_BATCH, Runs, ServerUnreachable
from infra.pool.dispatch import PoolGone
from infra.pool.local import LocalPool, PoolFailed, Superseded
from infra.processes import ProcessDied
from infra.records import Ledger, LedgerUnreachable
from infra.records.tables import Life
from infra.settings import Settings, read_settings
from infra.stack import GPU_POOL, StackError, environment, worker_command
from infra.states import LifeEnd, LifeState

LOOK_EVERY: Final = 0.5
WORKER: Final = "spot-gpu-worker"

Say = Callable[[str], None]
Show = Callable[[int, str], None]
"""Shows the diary of the life of that number, as Markdown."""


@flow(name="spot-pool", flow_run_name="pool life", retries=0)
def spot_pool() -> str:
    """One life of the pool. Ends when there has been no work for the whole idle window; returns why it ended."""
    settings = read_settings()
    ledger = Ledger(settings.ledger_url)
    run_id = str(flow_run.id)
    say = get_run_logger().info
    lease = KeptLease(ledger, KEEPER, run_id, KEEPER_SECONDS, say)
    if not lease.still_ours(_now()):
        return "another keeper is at work"
    try:
        return live(settings, ledger, lease, say, DiaryArtifact(UUID(run_id), say).show)
    except Superseded:
        return "the lease was lost: the life of the pool is left to another keeper"
    finally:
        lease.let_go()


def live(settings: Settings, ledger: Ledger, lease: KeptLease, say: Say, show: Show) -> str:
    """Open or adopt a life of the pool, keep it while there is work, close it; how that went.

    Raises PoolFailed, and Superseded when the lease is lost: then the life is left as it is, because it may be in the
    hands of another keeper by then.
    """
    life = _life(settings, ledger, lease, say)
    pool, diary = LocalPool(settings, ledger, life), Diary(ledger, life.id, show)
    end, ours = LifeEnd.FAILED, True
    try:
        pool.open(_now(), lambda: lease.still_ours(_now()))
        say(f"life {life.id} of the pool is open")
        end = _keep(settings, ledger, lease, pool, diary, say)
        return f"life {life.id} ended: {end}"
    except Superseded:
        ours = False
        raise
    except (StackError, ProcessDied, PoolGone) as error:
        raise PoolFailed(str(error)) from error
    finally:  # also when this run is told to end: machines must not outlive their keeper
        if ours:
            _close(pool, diary, end, say)
        else:
            pool.leave()


def _close(pool: LocalPool, diary: Diary, end: LifeEnd, say: Say) -> None:
    pool.close(end, _now())
    diary.catch_up()
    say(f"life {pool.life.id} of the pool is closed ({end}); every machine was given back")


def _life(settings: Settings, ledger: Ledger, lease: KeptLease, say: Say) -> Life:
    """A new life; or the one that a dead keeper left, if its scheduler and its machines may still serve."""
    for old in ledger.lives(open_only=True):
        pool = LocalPool(settings, ledger, old)
        if old.state is not LifeState.CLOSING and pool.is_alive():
            say(f"life {old.id} of the pool goes on with this keeper")
            return old
        say(f"life {old.id} of the pool cannot go on: it is closed, and another one begins")
        pool.close(LifeEnd.REPLACED, _now())
        if not lease.still_ours(_now()):
            raise Superseded
    life = ledger.open_life(_now(), flow_run_id=lease.holder)
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


def _keep(settings: Settings, ledger: Ledger, lease: KeptLease, pool: LocalPool, diary: Diary, say: Say) -> LifeEnd:
    """Look, decide, act, until the idle window is over. Raises Superseded once the lease is not ours any more."""
    window = _Window(timedelta(seconds=settings.idle_window))
    while lease.still_ours(_now()):
        try:
            pool.processes.start(WORKER, worker_command(GPU_POOL, f"life-{pool.life.id}"), environment(settings))
            pool.step(_now(), say)
            diary.keep_up(_now())
            if window.is_over(_has_work(ledger), _now()):
                _stop_taking(settings, pool)
                if not _has_work(ledger):
                    return LifeEnd.IDLE
        except LedgerUnreachable as error:
            lease.doubt(error)
        time.sleep(LOOK_EVERY)
    raise Superseded


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


def _now() -> datetime:
    return datetime.now(UTC)
