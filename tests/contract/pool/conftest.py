"""What tests of the pool share: a life with a real scheduler behind mutual TLS, and plain Dask workers for it."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from distributed import Client

from infra.pool import dispatch
from infra.pool.certificates import Certificate
from infra.pool.local import LocalPool
from infra.processes import Process, marked
from infra.records import Ledger
from infra.settings import Settings
from infra.states import LifeEnd
from tests.waiting import eventually


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPool]:
    """An open life of a pool, with a scheduler and no machine; at the end no process of it may be left."""
    opened = open_pool(tmp_path_factory.mktemp("pool"))
    yield opened
    opened.close(LifeEnd.ASKED, now())
    assert marked(str(opened.settings.state)) == []


@pytest.fixture(scope="module")
def client(pool: LocalPool) -> Iterator[Client]:
    """A client of that scheduler."""
    with dispatch.connect(address_of(pool), Certificate.of(keys_of(pool), "client")) as client:
        yield client


@pytest.fixture
def worker(pool: LocalPool, client: Client) -> Iterator[Callable[[str], Process]]:
    """Call it with a name for a plain Dask worker that has joined."""
    started: list[str] = []

    def start(name: str) -> Process:
        keys = Certificate.of(keys_of(pool), "machine")
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address_of(pool), "--name", name]
        command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(pool.folder)]
        command += ["--tls-ca-file", str(keys.authority), "--tls-cert", str(keys.certificate)]
        process = pool.processes.start(name, [*command, "--tls-key", str(keys.key)], {"PATH": "/usr/bin:/bin"})
        started.append(name)
        eventually(f"{name} joins", lambda: name in dispatch.machines_of(client))
        return process

    yield start
    pool.processes.stop(started, gently=0)
    eventually("they leave", lambda: not set(started) & set(dispatch.machines_of(client)))


def open_pool(state: Path, **settings: object) -> LocalPool:
    """A life in that state folder, with a ledger of its own."""
    chosen = Settings(state=state, machine_threads=1, **settings)  # type: ignore[arg-type]
    ledger = Ledger(f"sqlite:///{state}/ledger.db")
    ledger.migrate()
    life = ledger.open_life(now())
    assert life is not None
    pool = LocalPool(chosen, ledger, life)
    pool.open(now(), still_ours=lambda: True)
    return pool


def keys_of(pool: LocalPool) -> Path:
    return pool.folder / "certificates"


def address_of(pool: LocalPool) -> str:
    address = pool.life.scheduler_address
    assert address is not None
    return address


def now() -> datetime:
    return datetime.now(UTC)
