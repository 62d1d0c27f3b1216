"""Send work to the pool's Dask scheduler and wait for it, so that whatever happens to a machine has a name here.

A Dask future may stay pending for ever when its scheduler is gone, and it hides which machine was lost. `wait_for`
turns every end into a value or into one of the errors below, within a deadline.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import dask
from dask._expr import LLGExpr
from dask._task_spec import Task
from distributed import Client, Future, KilledWorker, Security

from infra.pool import inert
from infra.pool.certificates import Certificate
from infra.pool.ends import MachineLost, PoolGone, Stopped, TookTooLong

log = logging.getLogger("spotlift.dispatch")

LOOK_EVERY = 0.25
LOOK_AT_QUEUE_EVERY = 1.0
SILENT = 10.0
"""Seconds without a heartbeat after which a worker counts as frozen; the busiest sends one every few seconds."""
CONNECT_DEADLINE = 10.0
RECONNECT_DEADLINE = 3.0
"""Seconds without a connection after which the scheduler counts as dead: it is on this very computer."""


def connect(address: str, certificate: Certificate) -> Client:
    """A client of the pool's scheduler over mutual TLS. Raises PoolGone when it does not answer in time.

    What it receives is unpickled into values only, from now on and in this whole process.
    """
    inert.guard()
    security = Security(
        tls_ca_file=str(certificate.authority),
        tls_client_cert=str(certificate.certificate),
        tls_client_key=str(certificate.key),
        require_encryption=True,
    )
    try:
        return Client(address, security=security, timeout=CONNECT_DEADLINE, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise PoolGone(f"the pool's scheduler at {address} does not answer: {error}") from error


def disconnect(client: Client) -> None:
    """Let go of a client, whatever state its connection is in."""
    try:
        client.close(timeout=2)
    except Exception as error:  # noqa: BLE001 - Dask passes on whatever its reconnecting ran into, a ValueError of TLS too
        log.info("closing a client: %r", error)


# A scheduler that died in the middle of a question is waited for so long, and not for Dask's half a minute.
dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_DEADLINE:.0f}s"})


def machine_of(worker: object) -> str:
    """The machine on which a Dask worker of that name runs: with several GPUs a machine has `NAME.0`, `NAME.1` …"""
    return str(worker).partition(".")[0]


def machines_of(client: Client) -> set[str]:
    """The names of the machines that are checked in."""
    return {machine_of(worker["name"]) for worker in _workers(client).values()}


def places_of(client: Client) -> int:
    """How many pieces of work can be done at the same time: one per Dask worker, so one per GPU."""
    return len(client.nthreads() or ())


def _workers(client: Client) -> dict[str, Any]:
    """The Dask workers by address; none if the client has lost its scheduler."""
    found: dict[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    return found


def at_work(client: Client) -> dict[str, bool] | None:
    """The machines that are checked in and not frozen, and whether they have work; None if the scheduler cannot say.

    A machine whose host froze closes no connection, and Dask misses it only much later.
    """
    try:
        workers = _workers(client)
        busy = {address for address, work in client.processing().items() if work}
    except (OSError, TimeoutError):
        return None
    machines: dict[str, bool] = {}
    now = time.time()
    for address, worker in workers.items():
        if now - worker["last_seen"] > SILENT:
            continue
        name = machine_of(worker["name"])
        machines[name] = machines.get(name, False) or address in busy
    return machines


def forget(client: Client, machine: str) -> None:
    """Tell the scheduler that a machine is gone, so that its work goes elsewhere before heartbeats are missed."""
    try:
        for address, worker in _workers(client).items():
            if machine_of(worker["name"]) == machine:
                client.sync(client.scheduler.unregister, address=address, stimulus_id=f"gone-{machine}")
    except (OSError, TimeoutError):
        return  # the keeper looks again


def send_away(client: Client, machine: str) -> None:
    """Let a machine that does not get anywhere go, so that no other work waits behind what it cannot end.

    Its process ends by itself, and the keeper of the pool replaces it. Raises PoolGone.
    """
    try:
        client.sync(
            client.scheduler.retire_workers,
            names=[machine],
            close_workers=True,
            callback_timeout=CONNECT_DEADLINE,
        )
    except (OSError, TimeoutError) as error:
        raise PoolGone(f"machine {machine} could not be sent away: {error}") from error


class Queue:
    """Who works on what at a scheduler, asked at most once a second for all threads that wait for work of theirs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._work: dict[str, tuple[str, ...]] = {}
        self._asked: float | None = None

    def is_ahead_of(self, key: str) -> bool:
        """Whether every worker has other work, so that nobody can be blamed for not having begun this."""
        with self._lock:
            if self._asked is None or time.monotonic() - self._asked > LOOK_AT_QUEUE_EVERY:
                try:
                    self._work = self._client.processing()
                except (OSError, TimeoutError, RuntimeError):
                    self._work = {}
                self._asked = time.monotonic()
            return bool(self._work) and all(set(keys) - {key} for keys in self._work.values())


def wait_for(
    client: Client,
    work: Callable[[Any], Any],
    job: Any,
    *,
    stopped: Callable[[], bool],
    last_news: Callable[[], float | None],
    patience: float,
    queue_patience: float = 600.0,
    queue: Queue | None = None,
    priority: int = 0,
) -> Any:
    """`work(job)` as computed by some machine. What has a higher `priority` is begun first.

    `stopped()` is asked all the time whether the result is still wanted. `last_news()` is the `time.monotonic()` of
    the last sign of life of this job, None while nobody has heard of it; it is given up after `patience` seconds
    without further news, and after `queue_patience` seconds without any: there was no machine, or none that was free
    took it, or one took it and hangs. The time in which all machines had other work does not count.
    Raises MachineLost, PoolGone, TookTooLong, Stopped, or what `work` raised.
    """
    waits = connected = time.monotonic()
    queue = queue or Queue(client)
    future = _send(client, work, job, priority=priority)
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    try:
        while not ended.wait(LOOK_EVERY):
            if stopped():
                raise Stopped("it is not wanted any more")
            now = time.monotonic()
            connected = now if client.status == "running" else connected
            if client.status not in ("running", "connecting") or now - connected > RECONNECT_DEADLINE:
                raise PoolGone("the connection to the pool's scheduler is broken")
            news = last_news()
            if news is None and now - waits > queue_patience / 2 and queue.is_ahead_of(future.key):
                waits = now
            if news is None and now - waits > queue_patience:
                raise TookTooLong(f"no machine told of it within {queue_patience:.0f} s")
            if news is not None and now - news > patience:
                raise TookTooLong(f"no news of it for {patience:.0f} s")
        return _result(future)
    finally:
        future.release()


def _send(client: Client, work: Callable[[Any], Any], job: Any, *, priority: int) -> Future:
    """Send it so that it waits at the scheduler for whichever worker is free first.

    Only what Dask takes for a source of data may wait there; anything else it puts behind what some worker has in
    hand, where it stays although another one is free by now.
    """
    key = f"{work.__name__}-{uuid4()}"
    graph = LLGExpr({key: Task(key, work, job, _data_producer=True)}, _determ_token=key)
    return client.get(graph, key, sync=False, priority=priority, fifo_timeout=0)


def _result(future: Any) -> Any:
    if future.status == "finished":
        return future.result(timeout=CONNECT_DEADLINE)
    if future.status != "error":
        raise PoolGone(f"the pool's scheduler has forgotten the work ({future.status})")
    error = future.exception(timeout=CONNECT_DEADLINE)
    if isinstance(error, KilledWorker):
        raise MachineLost(machine_of(error.last_worker.name)) from None
    raise error
