"""One process at a time holds a lease, and a dead holder blocks nobody."""

from datetime import datetime, timedelta

from infra.records import Ledger
from infra.states import EventKind


def test_one_holder_at_a_time(ledger: Ledger, noon: datetime) -> None:
    assert ledger.hold("watch", "anna", 10, noon)
    assert not ledger.hold("watch", "ben", 10, noon)
    assert ledger.hold("pool", "ben", 10, noon)
    assert not ledger.let_go("watch", "ben")
    assert ledger.let_go("watch", "anna")
    assert ledger.hold("watch", "ben", 10, noon)


def test_a_holder_renews_and_a_dead_one_is_succeeded(ledger: Ledger, noon: datetime) -> None:
    ledger.hold("watch", "anna", 10, noon)
    ledger.hold("watch", "anna", 10, noon + timedelta(seconds=9))
    assert not ledger.hold("watch", "ben", 10, noon + timedelta(seconds=18))
    assert ledger.hold("watch", "ben", 10, noon + timedelta(seconds=19))
    assert not ledger.hold("watch", "anna", 10, noon + timedelta(seconds=19))
    [event] = ledger.events()
    assert event.kind is EventKind.LEASE_TAKEN_OVER
    assert "ben takes over 'watch'" in event.message


def test_a_lease_tells_who_holds_it_also_when_its_time_is_over(ledger: Ledger, noon: datetime) -> None:
    assert ledger.lease("watch") is None
    ledger.hold("watch", "anna", 10, noon)
    ledger.hold("pool", "ben", 20, noon)
    lease = ledger.lease("watch")
    assert lease is not None
    assert (lease.holder, lease.until) == ("anna", noon + timedelta(seconds=10))
    assert [lease.name for lease in ledger.leases()] == ["pool", "watch"]
