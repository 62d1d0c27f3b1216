"""What tests of machines share: lives of a pool, one for all that leave it as it is and new ones for the others."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from distributed import Client

from infra.pool import dispatch
from infra.processes import marked
from tests.contract.machine.cloud import Cloud, Signer
from tests.contract.machine.life import Life
from tests.waiting import eventually


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def new_life(tmp_path: Path, signer: Signer) -> Iterator[Life]:
    """A life of the test's own, with nothing started."""
    life = Life(tmp_path, signer, ExitStack())
    yield life
    life.close()
    assert marked(str(life.folder)) == []


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Life]:
    """A life with a scheduler and a registrar."""
    life = Life(tmp_path_factory.mktemp("life"), signer, ExitStack())
    life.start_scheduler()
    life.start_registrar()
    yield life
    life.close()
    assert marked(str(life.folder)) == []


@pytest.fixture(scope="module")
def client(life: Life) -> Client:
    return life.client()


@pytest.fixture
def vm(life: Life, client: Client) -> Iterator[Callable[..., Cloud]]:
    """Call it with a name for a VM of the life whose workers have joined."""
    names: list[str] = []

    def boot(name: str, workers: int = 1, **attributes: str) -> Cloud:
        cloud = life.cloud(name, **attributes)
        before = len(_workers(client))
        life.boot(cloud)
        names.append(name)
        eventually(f"{name} joins", lambda: len(_workers(client)) == before + workers)
        return cloud

    yield boot
    life.processes.stop(names, gently=10)
    eventually("they leave", lambda: not dispatch.machines_of(client) & {*names})


def _workers(client: Client) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])
