"""Emulators whose every answer is checked against the discovery document, and clients of them.

Two are shared by the tests, one whose machines are states only and one whose machines run; each test leaves them
empty and calm. A test that needs other times starts its own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.emulator.remote import Remote
from infra.emulator.server import in_thread
from infra.emulator.world import Times, World
from tests.contract.emulator.discovery import Recorder
from tests.contract.emulator.renter import Renter
from tests.waiting import eventually

QUICK = Times(provisioning=0.05, staging=0.05, stopping=0.05, grace=5.0)


@pytest.fixture(scope="session")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _every_answer_is_true(recorder: Recorder) -> Iterator[None]:
    yield
    recorder.check()


@pytest.fixture(scope="session")
def _states_only(recorder: Recorder) -> Iterator[Renter]:
    with in_thread(World(QUICK), wrap=recorder.around) as url:
        renter = Renter(url)
        yield renter
        renter.close()


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the emulator whose machines run."""
    return tmp_path_factory.mktemp("emulator")


@pytest.fixture(scope="session")
def _running(recorder: Recorder, state: Path) -> Iterator[Renter]:
    with in_thread(World(QUICK), state=state, wrap=recorder.around) as url:
        renter = Renter(url)
        yield renter
        renter.close()


def _empty(renter: Renter) -> None:
    remote = Remote(renter.url)
    remote.calm()
    remote.preempt_all(notice=None)
    for it in remote.machines():
        renter.instances.delete_unary(project=it["project"], zone=it["zone"], instance=it["name"])
    eventually("the emulator is empty", lambda: not remote.machines(), 20)


@pytest.fixture
def renter(_states_only: Renter) -> Iterator[Renter]:
    """Rents machines that are states only, in a project that nobody had before."""
    _states_only.project = f"project-{uuid4().hex[:8]}"
    yield _states_only
    _empty(_states_only)


@pytest.fixture
def url(renter: Renter) -> str:
    return renter.url


@pytest.fixture
def remote(renter: Renter) -> Remote:
    """Makes trouble for the renter."""
    return Remote(renter.url)


@pytest.fixture
def tenant(_running: Renter) -> Iterator[Renter]:
    """Rents machines that run."""
    yield _running
    _empty(_running)


@pytest.fixture
def host(tenant: Renter) -> str:
    """The emulator of the tenant."""
    return tenant.url


@pytest.fixture
def at(recorder: Recorder) -> Iterator[Callable[..., Renter]]:
    """Call it with times (and a state folder, for machines that run) for somebody who rents of another emulator."""
    running = []
    renters = []

    def start(times: Times, state: Path | None = None) -> Renter:
        emulator = in_thread(World(times), state=state, wrap=recorder.around)
        renters.append(Renter(emulator.__enter__()))
        running.append(emulator)
        return renters[-1]

    yield start
    for renter in renters:
        renter.close()
    for emulator in running:
        emulator.__exit__(None, None, None)
