"""Zones run dry, quotas are full, machines never boot: the pool goes on elsewhere, waits, or says what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.states import BatchEnd, BatchState, LifeState, MachineEnd
from tests.story.pictures import album
from tests.story.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def an_empty_pool(stack: Stack) -> Iterator[None]:
    """Each story begins without a machine, and leaves the cloud without troubles."""
    stack.eventually("the pool has ended", lambda: not stack.ledger.lives(open_only=True))
    yield
    stack.emulator.calm()


def test_a_dry_zone_is_passed_over_and_all_dry_zones_are_waited_for(stack: Stack, tmp_path: Path):
    zones = stack.zones()
    for zone in zones:
        stack.emulator.stockout(zone)
    batch = stack.submit(album(tmp_path / "pictures", 4), "in-a-drought")
    stack.eventually("the user is told", lambda: "nothing can be rented" in stack.spotlift("status").stdout)
    life = stack.ledger.current_life()
    assert life is not None
    assert stack.ledger.batch(batch).state in (BatchState.ARRIVED, BatchState.REGISTERED)

    stack.emulator.stockout(zones[-1], off=True)
    assert stack.ended(batch).state is BatchState.DONE
    machines = stack.ledger.machines(life.id)
    assert {m.zone for m in machines if m.checked_in_at is not None} == {zones[-1]}
    assert {m.end for m in machines if m.zone != zones[-1]} == {MachineEnd.STOCKOUT}


def test_with_a_full_quota_and_a_machine_that_never_boots_the_batch_gets_done_all_the_same(
    stack: Stack, tmp_path: Path
):
    stack.emulator.quota("GPUS_ALL_REGIONS", 1)
    stack.emulator.no_boot(times=1)
    batch = stack.submit(album(tmp_path / "pictures", 4), "with-one-gpu")
    assert stack.ended(batch).state is BatchState.DONE
    rented = [m for m in stack.ledger.machines() if m.requested_at > stack.ledger.batch(batch).arrived_at]
    assert len([m for m in rented if m.checked_in_at is not None]) == 1
    failed = [m for m in rented if m.checked_in_at is None]
    assert {m.end for m in failed} <= {MachineEnd.QUOTA, MachineEnd.BOOT_FAILED}
    [never_booted] = [m for m in failed if m.end is MachineEnd.BOOT_FAILED]
    assert "did not check in within 30 s" in never_booted.reason
    assert {attempt.number for attempt in stack.ledger.attempts(stack.ledger.batch(batch).id)} == {1}


def test_what_only_a_person_can_mend_is_told_at_once_and_retry_goes_on(stack: Stack, tmp_path: Path):
    stack.emulator.quota("GPUS_ALL_REGIONS", 0)
    batch = stack.submit(album(tmp_path / "pictures", 2), "forbidden")
    stack.eventually("the pool opens", lambda: stack.ledger.current_life())
    told = stack.eventually("the reason is told", lambda: _reason(stack))
    assert "GPUS_ALL_REGIONS" in told
    stack.spotlift("cancel", batch)
    assert stack.ended(batch).reason is BatchEnd.CANCELLED_BY_USER
    stack.emulator.calm()
    stack.spotlift("retry", batch)
    assert stack.ended(batch).state is BatchState.DONE


def _reason(stack: Stack) -> str:
    life = stack.ledger.current_life()
    return str(life.details.get("waits", "")) if life is not None and life.state is LifeState.OPEN else ""
