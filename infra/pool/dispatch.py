"""Send work to the pool's Dask scheduler and wait for it, so that whatever happens to a machine has a name here.

A Dask future may stay pending for ever when its scheduler is gone, and it hides which machine was lost. `wait_for`
turns every end into a value or into one of the errors below, within a deadline.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client, KilledWorker, Security

from infra.pool.certificates import Certificate
from infra.pool.ends import MachineLost, PoolGone, Stopped, TookTooLong

LOOK_EVERY = 0.25
CONNECT_DEADLINE = 10.0
RECONNECT_DEADLINE = 3.0
"""Seconds without a connection after which the scheduler counts as dead: it is on this very computer."""


def connect(address: str, certificate: Certificate) -> Client:
    """A client of the pool's scheduler over mutual TLS. Raises PoolGone when it does not answer in time."""
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


# A scheduler that died in the middle of a question is waited for so long, and not for Dask's half a minute.
dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_DEADLINE:.0f}s"})


def machine_of(worker: object) -> str:
    """The machine on which a Dask worker of that name runs: with several GPUs a machine has `NAME.0`, `NAME.1` …"""
    return str(worker).partition(".")[0]


def machines_of(client: Client) -> set[str]:
    """The names of the machines that are checked in."""
    return {machine_of(worker["name"]) for worker in _workers(client).values()}


def _workers(client: Client) -> dict[str, Any]:
    """The Dask workers by address; none if the client has lost its scheduler."""
    found: dict[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    return found


def at_work(client: Client) -> dict[str, bool] | None:
    """The machines that are checked in, and whether they have work; None if the scheduler cannot say."""
    try:
        workers = _workers(client)
        busy = {address for address, work in client.processing().items() if work}
    except (OSError, TimeoutError):
        return None
    machines: dict[str, bool] = {}
    for address, worker in workers.items():
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


def wait_for(
    client: Client,
    work: Callable[[Any], Any],
    job: Any,
    *,
    stopped: Callable[[], bool],
    last_news: Callable[[], float | None],
    patience: float,
    queue_patience: float = 600.0,
) -> Any:
    """`work(job)` as computed by some machine.

    `stopped()` is asked all the time whether the result is still wanted. `last_news()` is the `time.monotonic()` of
    the last sign of life of this job, None while nobody has heard of it; it is given up after `patience` seconds
    without further news, and after `queue_patience` seconds without any: no machine took it, or one took it and hangs.
    Raises MachineLost, PoolGone, TookTooLong, Stopped, or what `work` raised.
    """
    sent = connected = time.monotonic()
    future = client.submit(work, job, pure=False, retries=0)
    ended = threading.Event()
    future.add_done_callback(lambda _: ended.set())
    try:
        while not ended.wait(LOOK_EVERY):
            if stopped():
                raise Stopped("it is not wanted any more")
            connected = time.monotonic() if client.status == "running" else connected
            if client.status not in ("running", "connecting") or time.monotonic() - connected > RECONNECT_DEADLINE:
                raise PoolGone("the connection to the pool's scheduler is broken")
            news = last_news()
            if news is None and time.monotonic() - sent > queue_patience:
                raise TookTooLong(f"no machine told of it within {queue_patience:.0f} s")
            if news is not None and time.monotonic() - news > patience:
                raise TookTooLong(f"no news of it for {patience:.0f} s")
        return _result(future)
    finally:
        future.release()


def _result(future: Any) -> Any:
    if future.status == "finished":
        return future.result(timeout=CONNECT_DEADLINE)
    if future.status != "error":
        raise PoolGone(f"the pool's scheduler has forgotten the work ({future.status})")
    error = future.exception(timeout=CONNECT_DEADLINE)
    if isinstance(error, KilledWorker):
        raise MachineLost(machine_of(error.last_worker.name)) from None
    raise error
