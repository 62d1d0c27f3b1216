"""What tests of the pool share: a life with a real scheduler behind mutual TLS, and plain Dask workers for it."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from distributed import Client

from infra.pool import dispatch
from infra.pool.certificates import Certificate
from infra.pool.hub import Hub
from infra.processes import Process, marked
from infra.records.tables import Life
from infra.settings import Settings
from infra.states import LifeState
from tests.waiting import eventually


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Scheduler and registrar of a life, and no machine; at the end no process of it may be left."""
    started = start_hub(tmp_path_factory.mktemp("hub"))
    yield started
    started.stop()
    assert marked(str(started.settings.state)) == []


@pytest.fixture(scope="module")
def client(hub: Hub) -> Iterator[Client]:
    """A client of that scheduler."""
    with dispatch.connect(hub.scheduler, Certificate.of(hub.keys, "client")) as client:
        yield client


@pytest.fixture
def worker(hub: Hub, client: Client) -> Iterator[Callable[[str], Process]]:
    """Call it with a name for a plain Dask worker that has joined."""
    started: list[str] = []

    def start(name: str) -> Process:
        keys = Certificate.of(hub.keys, "client")
        command = [sys.executable, "-m", "distributed.cli.dask_worker", hub.scheduler, "--name", name]
        command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(hub.folder)]
        command += ["--tls-ca-file", str(keys.authority), "--tls-cert", str(keys.certificate)]
        process = hub.processes.start(name, [*command, "--tls-key", str(keys.key)], {"PATH": "/usr/bin:/bin"})
        started.append(name)
        eventually(f"{name} joins", lambda: name in _workers(client))
        return process

    yield start
    hub.processes.stop(started, gently=0)
    eventually("they leave", lambda: not set(started) & _workers(client))


def start_hub(state: Path) -> Hub:
    """The hub of a life in that state folder, connected."""
    life = Life(id=1, state=LifeState.OPENING, opened_at=now())
    hub = Hub(Settings(state=state, machine_threads=1), life)
    hub.start(now())
    eventually("the scheduler listens", hub.connect)
    return hub


def _workers(client: Client) -> set[str]:
    return {str(worker["name"]) for worker in client.scheduler_info(n_workers=-1)["workers"].values()}


def now() -> datetime:
    return datetime.now(UTC)
