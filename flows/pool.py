"""One life of the pool: rent machines while there is work, keep them, give them back, and say what it cost."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.board import Board, Show, Tell, Wall, tell_prefect
from flows.guard import Guard
from flows.leases import KEEPER, KEEPER_SECONDS, KeptLease
from flows.runs import PROCESS_BATCH, Runs, ServerUnreachable
from infra.brought_up import elsewhere, where
from infra.machines.cloud import Cloud
from infra.machines.errors import CloudError
from infra.machines.prices import PricesError
from infra.pool.certificates import LONGEST_LIFE
from infra.pool.ends import PoolGone
from infra.pool.hub import SCHEDULER, Hub
from infra.pool.keeper import Keeper, Market
from infra.pool.market import market_of
from infra.pool.plan import PoolPlan
from infra.processes import ProcessDied
from infra.records import Ledger, LedgerUnreachable
from infra.records.tables import Life
from infra.settings import Settings, read_settings
from infra.stack import GPU_POOL, StackError, endpoint, environment, worker_command
from infra.states import LifeEnd, LifeState

LOOK_EVERY: Final = 0.5
WORKER: Final = "spot-gpu-worker"
OPENS_WITHIN: Final = timedelta(seconds=60)
"""So long may the scheduler take to listen."""
CLOSES_WITHIN: Final = timedelta(minutes=5)
"""So long does a keeper wait for its last machine to leave the cloud's listing; its successor goes on with that."""
LAST_DAY: Final = timedelta(hours=24)
LAST_HOUR: Final = timedelta(hours=1)
"""Before the certificates of a life end."""
ASK_MARKET_EVERY: Final = timedelta(seconds=15)
THREADS: Final = 8
"""Orders and returns that are sent to the cloud at the same time."""

Say = Callable[[str], None]


class PoolFailed(Exception):
    """The pool cannot be opened, kept or closed; a sentence with what to do."""


class Superseded(Exception):
    """Another keeper has the life in its hands now; leave it alone."""


@flow(name="spot-pool", flow_run_name="pool life", retries=0)
def spot_pool(plan: PoolPlan | None = None) -> str | State[Any]:
    """One life of the pool. Ends when there has been no work for the whole idle window; returns why it ended.

    Args:
        plan: What to rent, and for how much. Empty: as the settings say.
    """
    settings = read_settings()
    ledger = Ledger(settings.ledger_url)
    run_id = str(flow_run.id)
    say = get_run_logger().info
    lease = KeptLease(ledger, KEEPER, run_id, KEEPER_SECONDS, say)
    if not lease.still_ours(_now()):
        return "another keeper is at work"
    try:
        show = Wall(UUID(run_id), Runs.of(settings), say).show
        return live(settings, plan or PoolPlan.of(settings), ledger, lease, say, show, tell_prefect)
    except Superseded:
        return "the lease was lost: the life of the pool is left to another keeper"
    except PoolFailed as error:
        return Failed(message=str(error))
    finally:
        lease.let_go()


def live(settings: Settings, plan: PoolPlan, ledger: Ledger, lease: KeptLease, say: Say, show: Show, tell: Tell) -> str:
    """Open or adopt a life of the pool, keep it while there is work, close it; how that went.

    Raises PoolFailed, and Superseded when the lease is lost: then the life is left as it is, because it may be in the
    hands of another keeper by then.
    """
    with lease.kept():
        return _live(settings, plan, ledger, lease, say, show, tell)


def _live(
    settings: Settings, plan: PoolPlan, ledger: Ledger, lease: KeptLease, say: Say, show: Show, tell: Tell
) -> str:
    try:
        cloud = Cloud.at(settings.project, endpoint(settings))
        market = market_of(settings, plan, cloud, say)
    except (CloudError, PricesError) as error:
        raise PoolFailed(str(error)) from error

    def pool_of(life: Life) -> Pool:
        hub, board = Hub(settings, life), Board(ledger, life, show, tell)
        pause = timedelta(seconds=settings.stockout_pause)
        keeper = Keeper(ledger, life, plan, market, cloud, hub, ThreadPoolExecutor(THREADS), say, pause)
        return Pool(settings, ledger, lease, keeper, hub, board, say, partial(market_of, settings, plan, cloud, say))

    gpus = market.gpu.count if market.gpu else plan.gpus
    pool = _adopt_or_open(ledger, lease, pool_of, say, where(settings), {"machines": plan.machines, "gpus": gpus})
    end, ours = LifeEnd.FAILED, True
    try:
        end = pool.keep()
        return f"life {pool.life.id} ended: {end}"
    except Superseded:
        ours = False
        raise
    except (StackError, ProcessDied, PoolGone) as error:
        raise PoolFailed(str(error)) from error
    finally:  # also when this run is told to end: machines must not outlive their keeper
        if ours and lease.still_ours(_now()):
            pool.close(end)
        else:
            pool.leave()


def _adopt_or_open(
    ledger: Ledger,
    lease: KeptLease,
    pool_of: "Callable[[Life], Pool]",
    say: Say,
    here: Mapping[str, str],
    size: Mapping[str, int],
) -> "Pool":
    """A new life; or the one that a dead keeper left, if its scheduler and its machines may still serve.

    That it rents `here` and how large it may be stand in its row. Raises PoolFailed when a life was opened elsewhere.
    """
    for old in ledger.lives(open_only=True):
        if away := elsewhere(old.id, old.details, here):
            raise PoolFailed(away)
        pool = pool_of(old)
        if old.state is not LifeState.CLOSING and pool.hub.is_alive():
            say(f"life {old.id} of the pool goes on with this keeper")
            pool.keeper.life = ledger.life_knows(old.id, dict(size))
            return pool
        say(f"life {old.id} of the pool cannot go on: it is closed, and another one begins")
        pool.close(LifeEnd.REPLACED)
        if not lease.still_ours(_now()):
            raise Superseded
    life = ledger.open_life(_now(), flow_run_id=lease.holder, details={**here, **size})
    if life is None:
        raise PoolFailed("another life of the pool was opened at this moment; this run is not needed")
    return pool_of(life)


def is_too_old(life: Life, works: bool, now: datetime) -> bool:
    """Whether a life must end before its certificates do: if possible at a moment when no machine works."""
    left = life.opened_at + LONGEST_LIFE - now
    return left < (LAST_HOUR if works else LAST_DAY)


@dataclass
class _Window:
    """The idle window: how long there has been no work."""

    length: timedelta
    since: datetime | None = None

    def is_over(self, busy: bool, now: datetime) -> bool:
        self.since = None if busy else self.since or now
        return self.since is not None and now - self.since >= self.length


@dataclass
class Pool:
    """One life of the pool in the hands of its keeper: hub, machines, the worker of `spot-gpu`, and what people see."""

    settings: Settings
    ledger: Ledger
    lease: KeptLease
    keeper: Keeper
    hub: Hub
    board: Board
    say: Say
    ask_market: Callable[[], Market]
    _market_asked: datetime | None = None

    @property
    def life(self) -> Life:
        return self.keeper.life

    def keep(self) -> LifeEnd:
        """Look, decide, act, until the idle window is over. Raises Superseded once the lease is not ours any more.

        Machines are asked for while the scheduler starts: they need longer than it does.
        """
        self.hub.start(_now())
        window, guard = _Window(self.keeper.idle_window()), Guard(self.ledger, Runs.of(self.settings))
        while self.lease.still_ours(_now()):
            try:
                self._serve(_now())
                self._know_the_market(_now())
                self.keeper.step(_now())
                self.board.keep_up(_now())
                if guard.look(_now()):
                    self.say("nobody watches the inbox any more: another watcher is called")
                window.length = self.keeper.idle_window()
                if window.is_over(self._has_work(), _now()):
                    self._stop_taking()
                    if not self._has_work():
                        return LifeEnd.IDLE
                if is_too_old(self.life, self.keeper.works(), _now()):
                    self.say(f"life {self.life.id} of the pool is as old as its certificates allow; another one begins")
                    return LifeEnd.REPLACED
            except LedgerUnreachable as error:
                self.lease.doubt(error)
            time.sleep(LOOK_EVERY)
        raise Superseded

    def close(self, end: LifeEnd) -> None:
        """Give every machine back, wait until the cloud lists none, end the rest, and say so. Repeatable.

        The machines go first, and also when the ledger cannot be reached: they are what costs money. Raises
        LedgerUnreachable then, and PoolFailed when a machine does not go; whoever finds the row goes on with it.
        """
        self.hub.processes.stop([WORKER])
        try:
            self.ledger.close_life(self.life.id, end, _now())
        except LedgerUnreachable:
            with suppress(CloudError):
                self.keeper.clear_cloud()
            self.hub.stop()
            raise
        until = _now() + CLOSES_WITHIN
        while not self.keeper.close_step(_now()):
            if not self.lease.still_ours(_now()):
                raise Superseded
            if _now() > until:
                self.hub.stop()
                raise PoolFailed(
                    f"life {self.life.id}: not every machine could be given back within "
                    f"{CLOSES_WITHIN.total_seconds():.0f} s; it is tried again. `spotlift machines` shows them"
                )
            time.sleep(LOOK_EVERY)
        self.hub.stop()
        self.ledger.life_is_closed(self.life.id, _now())
        self.hub.remove()
        self._let_go_of_taken_runs()
        self.board.last(_now())
        self.say(f"life {self.life.id} of the pool is closed ({end}); every machine was given back")

    def leave(self) -> None:
        """Let go of the life without touching it: whoever keeps it now goes on with it."""
        self.hub.leave()

    def _serve(self, now: datetime) -> None:
        """See to it that the scheduler lives and batches are taken. Raises StackError and PoolGone."""
        if not self.hub.is_alive():
            why = self.hub.processes.tail(SCHEDULER, 3)
            raise StackError(f"the Dask scheduler has died; the next life of the pool begins with a new one. {why}")
        self.hub.start(now)  # the registrar may have died
        self.hub.processes.start(WORKER, worker_command(GPU_POOL, f"life-{self.life.id}"), environment(self.settings))
        if self.life.state is LifeState.OPEN:
            self.hub.connect()
        elif self.hub.connect():
            keys = {"certificates": str(self.hub.keys)}
            self.keeper.life = self.ledger.life_is_open(self.life.id, self.hub.scheduler, now, keys)
            self.say(f"life {self.life.id} of the pool is open")
        elif now - self.life.opened_at > OPENS_WITHIN:
            raise StackError(f"the Dask scheduler did not listen within {OPENS_WITHIN.total_seconds():.0f} s")

    def _know_the_market(self, now: datetime) -> None:
        """Ask again where machines are offered, as long as the cloud could not say."""
        if self.keeper.market.unknown is None:
            return
        self._market_asked = self._market_asked or now
        if now - self._market_asked >= ASK_MARKET_EVERY:
            self._market_asked = now
            self.keeper.market = self.ask_market()

    def _has_work(self) -> bool:
        return bool(self.ledger.batches(open_only=True))

    def _stop_taking(self) -> None:
        """End the worker before its machines, so that it takes no batch that arrives while the pool closes."""
        self.hub.processes.stop([WORKER])
        self._let_go_of_taken_runs()

    def _let_go_of_taken_runs(self) -> None:
        """Say of batches' runs that our worker has taken and not begun that they never will: others begin at once."""
        runs = Runs.of(self.settings)
        with suppress(ServerUnreachable):  # then the watcher finds out by itself, but later
            for run in runs.living(PROCESS_BATCH):
                if run.state_type is StateType.PENDING:
                    runs.declare_crashed(run.id, "it was taken by a pool that was about to end")


def _now() -> datetime:
    return datetime.now(UTC)
