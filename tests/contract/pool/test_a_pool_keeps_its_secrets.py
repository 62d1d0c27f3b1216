"""Scheduler, registrar and machines know no credential of ours, and nothing of a life is left when it is over."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from flows.pool import PoolFailed
from infra.pool.folder import life_folder, lives_folder
from infra.processes import MARK, marked
from infra.records.tables import Life
from infra.stack import stop_work
from infra.states import LifeState
from tests.contract.pool.conftest import now, start_hub
from tests.contract.pool.site import LONG, Site, site_in
from tests.waiting import eventually

pytestmark = pytest.mark.slow
MARKS = {MARK, "SPOTLIFT_INSTANCE"}
"""By which a stack and the emulator find the processes that are theirs."""
SECRETS = {
    "PREFECT_API_KEY": "a password",
    "PREFECT_API_URL": "http://127.0.0.1:4200/api",
    "SPOTLIFT_LEDGER": "postgresql+psycopg://spotlift:secret@host/ledger",
    "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
    "SOMETHING_TOKEN": "t",
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose cloud runs real machines."""
    with site_in(tmp_path, processes=True) as site:
        yield site


def test_what_a_life_starts_knows_no_secret_and_a_life_that_is_over_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    site.idle_window = LONG
    site.batch_arrives()
    with ThreadPoolExecutor() as threads:
        keeper = threads.submit(site.keep, "keeper")
        life = site.opened()
        hub = site.hub(life)
        scheduler = hub.processes.find("scheduler")
        assert scheduler is not None
        try:
            eventually("a machine checked in", lambda: any(m.checked_in_at for m in site.ledger.machines(life.id)), 120)
            ours = [p.pid for p in hub.processes.all() if p.name in ("scheduler", "registrar")]
            machines = [c.pid for c in psutil.Process(site.cloud.process.pid).children(recursive=True)]
            assert (len(ours), len(machines) > 0) == (2, True)
            for pid in [*ours, *machines]:
                environment = psutil.Process(pid).environ()
                assert {name for name in environment if name.startswith(("SPOTLIFT", "PREFECT", "GOOGLE"))} <= MARKS
                assert not set(SECRETS.values()) & set(environment.values())
            assert {path.stem for path in hub.keys.glob("*.key")} == {"authority", "client", "registrar", "scheduler"}
        finally:
            site.batch_is_cancelled()
            psutil.Process(scheduler.pid).kill()  # the quickest way to the end of a life
        with pytest.raises(PoolFailed, match="scheduler has died"):
            keeper.result(timeout=60)
    assert site.ledger.life(life.id).state is LifeState.CLOSED
    assert site.statuses() == []
    assert list(lives_folder(site.settings).iterdir()) == []
    assert site.processes() == []
    eventually("no process of a machine is left", lambda: not psutil.Process(site.cloud.process.pid).children())


def test_taking_the_stack_down_leaves_no_key_either(tmp_path: Path):
    hub = start_hub(tmp_path)
    assert list(hub.folder.rglob("*.key"))
    stop_work(hub.settings)
    assert marked(str(tmp_path)) == []
    assert not list(tmp_path.rglob("*.key"))


def test_a_new_ledger_on_an_old_folder_does_not_meet_the_certificates_of_its_namesake(site: Site):
    opened = site.ledger.open_life(now())
    assert opened is not None
    namesake = Life(id=opened.id, state=LifeState.OPENING, opened_at=opened.opened_at + timedelta(days=1))
    assert life_folder(site.settings, namesake) != life_folder(site.settings, opened)
