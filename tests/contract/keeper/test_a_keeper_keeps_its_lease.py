"""Two keepers would rent twice: a lease is kept however long a step takes, and one that somebody else had is lost."""

from datetime import UTC, datetime, timedelta

import pytest

from flows.leases import KEEPER, KEEPER_SECONDS, KeptLease
from infra.records import Ledger, LedgerUnreachable
from tests.waiting import eventually

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def lease(ledger: Ledger) -> KeptLease:
    return KeptLease(ledger, KEEPER, "keeper", KEEPER_SECONDS, lambda _: None)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_lease_whose_time_is_over_is_ours_again_only_if_nobody_had_it(ledger: Ledger, lease: KeptLease):
    assert lease.still_ours(after(0))
    assert lease.still_ours(after(KEEPER_SECONDS + 1)), "nobody was there"
    rival = after(2 * KEEPER_SECONDS + 2)
    assert ledger.hold(KEEPER, "rival", KEEPER_SECONDS, rival)
    ledger.let_go(KEEPER, "rival")
    assert not lease.still_ours(rival + timedelta(seconds=1)), "a rival came and went while this process was frozen"
    assert not lease.still_ours(rival + timedelta(seconds=2))
    assert ledger.lease(KEEPER) is None, "it is not taken again"


def test_a_lease_that_a_rival_has_is_lost_also_when_the_rival_is_dead(ledger: Ledger, lease: KeptLease):
    assert lease.still_ours(after(0))
    assert ledger.hold(KEEPER, "rival", KEEPER_SECONDS, after(31))
    assert not lease.still_ours(after(32))
    assert not lease.still_ours(after(90))
    assert not KeptLease(ledger, KEEPER, "another", KEEPER_SECONDS, print).still_ours(after(32))
    assert KeptLease(ledger, KEEPER, "another", KEEPER_SECONDS, print).still_ours(after(90))


def test_one_that_could_not_be_had_is_taken_once_it_is_free(ledger: Ledger, lease: KeptLease):
    assert ledger.hold(KEEPER, "rival", KEEPER_SECONDS, after(0))
    assert not lease.still_ours(after(1))
    assert lease.still_ours(after(KEEPER_SECONDS + 1))


def test_a_step_that_outlives_the_lease_does_not_lose_it(ledger: Ledger):
    lease = KeptLease(ledger, KEEPER, "keeper", 0.5, lambda _: None)
    assert lease.still_ours(now())
    began = now()
    with lease.kept():

        def long_over() -> bool:
            assert lease.still_ours(now())
            assert not ledger.hold(KEEPER, "rival", 30, now())
            return now() - began > timedelta(seconds=2)

        eventually("the step is over", long_over)
    assert lease.still_ours(now())


def test_nothing_is_asked_while_it_is_kept_and_its_time_ends_nevertheless(
    ledger: Ledger, lease: KeptLease, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(*_: object) -> None:
        raise LedgerUnreachable("The ledger does not answer.")

    assert lease.still_ours(after(0))
    with lease.kept():
        monkeypatch.setattr(ledger, "hold", unreachable)
        monkeypatch.setattr(ledger, "lease", unreachable)
        assert lease.still_ours(after(KEEPER_SECONDS - 1))
        assert not lease.still_ours(after(KEEPER_SECONDS))
