"""Lends the right to do what one process at a time may do, for a while: a dead holder blocks nobody."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlmodel import col

from infra.records.diary import Verbs, note
from infra.records.tables import Lease
from infra.states import EventKind


class LeaseVerbs(Verbs):
    """Taking, renewing and giving back a lease."""

    def hold(self, name: str, holder: str, seconds: float, now: datetime) -> bool:
        """Take the lease, or renew it, until `seconds` from now. False when somebody else holds it.

        `holder` names one process, never a role: two processes of the same name would both hold it.
        """
        with self._database.writing() as session:
            lease = session.get(Lease, name)
            until = now + timedelta(seconds=seconds)
            if lease is None:
                session.add(Lease(name=name, holder=holder, until=until))
                return True
            if lease.holder != holder:
                if lease.until > now:
                    return False
                said = f"{holder} takes over {name!r}: {lease.holder} did not renew it in time."
                details = {"name": name, "from": lease.holder, "holder": holder}
                note(session, now, EventKind.LEASE_TAKEN_OVER, said, **details)
            lease.holder, lease.until = holder, until
            return True

    def let_go(self, name: str, holder: str) -> bool:
        """Give the lease back. False when it was not (or no longer) the holder's."""
        with self._database.writing() as session:
            lease = session.get(Lease, name)
            if lease is None or lease.holder != holder:
                return False
            session.delete(lease)
            return True

    def lease(self, name: str) -> Lease | None:
        """Who holds it and until when, also when that is past; None when nobody does."""
        with self._database.reading() as session:
            return session.get(Lease, name)

    def leases(self) -> list[Lease]:
        """All leases, also those whose time is over."""
        with self._database.reading() as session:
            return list(session.scalars(select(Lease).order_by(col(Lease.name))))
