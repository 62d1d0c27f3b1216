"""Taking a stack down gives its machines back first, whatever the ledger and the listing say."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.emulator.remote import Remote
from infra.machines.cloud import Cloud
from infra.machines.errors import Refused
from infra.machines.spec import Listing, Order
from infra.records import Ledger, LedgerUnreachable
from infra.states import LifeState, MachineEnd, MachineState
from infra.takedown import StillThere, settle
from tests.contract.machines.conftest import POOL, SPEC, made


@pytest.fixture
def ledger(sqlite_url: str) -> Ledger:
    ledger = Ledger(sqlite_url)
    ledger.migrate()
    return ledger


def here(cloud: Cloud) -> dict[str, str]:
    """What the lives of this pool say about where they rent."""
    return {"cloud": "emulator", "project": cloud.project, "pool": POOL}


def rented(ledger: Ledger, cloud: Cloud, order: Order) -> None:
    """A machine that ledger and cloud know."""
    now = datetime.now(UTC)
    life = ledger.current_life() or ledger.open_life(now)
    assert life is not None
    row = ledger.rent(life.id, 9, name=order.name, zone=order.zone, machine_type="n1-standard-4", spot=True, now=now)
    assert row is not None
    made(cloud, cloud.rent(SPEC, order), order.name)
    ledger.move_machine(row.id, MachineState.RUNNING, now)


def test_machines_go_back_and_the_books_are_closed(cloud: Cloud, order: Callable[..., Order], ledger: Ledger):
    rented(ledger, cloud, order())
    made(cloud, cloud.rent(SPEC, stranger := order()), stranger.name)
    settle(lambda: ledger, cloud, here(cloud), lambda _: None)
    assert cloud.listing(POOL).instances == {}
    [machine] = ledger.machines()
    assert (machine.end, machine.reason) == (MachineEnd.POOL_CLOSED, "The stack was taken down.")
    assert [life.state for life in ledger.lives()] == [LifeState.CLOSED]


def test_machines_go_back_also_when_the_ledger_is_out_of_reach(
    cloud: Cloud, order: Callable[..., Order], tmp_path: Path
):
    made(cloud, cloud.rent(SPEC, mine := order()), mine.name)
    with pytest.raises(LedgerUnreachable):
        settle(lambda: Ledger(f"sqlite:///{tmp_path}/nowhere/ledger.db"), cloud, here(cloud), lambda _: None)
    assert cloud.listing(POOL).instances == {}


def test_a_life_that_was_opened_elsewhere_is_left_as_it_is_and_told_of(cloud: Cloud, ledger: Ledger):
    now = datetime.now(UTC)
    life = ledger.open_life(now, details={"cloud": "google", "project": "theirs", "pool": POOL})
    assert life is not None
    ledger.rent(life.id, 9, name="far-away", zone="us-central1-a", machine_type="n1-standard-4", spot=True, now=now)
    [told] = settle(lambda: ledger, cloud, here(cloud), lambda _: None)
    assert "opened with cloud = google, project = theirs, and its machines are there" in told
    assert ledger.life(life.id).state is LifeState.OPENING
    assert ledger.machine("far-away").state is MachineState.REQUESTED


def test_a_machine_that_the_listing_misses_goes_back_by_its_name(
    cloud: Cloud, order: Callable[..., Order], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    mine = order()
    rented(ledger, cloud, mine)
    monkeypatch.setattr(cloud, "listing", lambda _: Listing({}))
    settle(lambda: ledger, cloud, here(cloud), lambda _: None)
    assert cloud.instance(mine.name, mine.zone) is None


def test_a_cloud_that_refuses_to_be_asked_is_told_at_once(
    cloud: Cloud, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    def refused(pool: str) -> Listing:  # noqa: ARG001 - as the client is asked
        raise Refused("The account lacks a permission.")

    monkeypatch.setattr(cloud, "listing", refused)
    with pytest.raises(StillThere, match="lacks a permission"):
        settle(lambda: ledger, cloud, here(cloud), lambda _: None)


def test_deleting_that_fails_for_a_while_is_tried_again(
    cloud: Cloud, order: Callable[..., Order], ledger: Ledger, trouble: Remote, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("infra.takedown.ASK_AGAIN", 0.5)
    rented(ledger, cloud, order())
    trouble.delete_fails(times=2)
    said: list[str] = []
    settle(lambda: ledger, cloud, here(cloud), said.append)
    assert cloud.listing(POOL).instances == {}
    assert "giving back 1 machine" in said
