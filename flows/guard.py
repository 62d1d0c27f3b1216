"""Calls another watcher when the one at work has died and nobody did anything about it.

Prefect's trigger does that within seconds, but not after its server was restarted: for a quarter of an hour it then
holds back what it hears of runs that began before. The keeper of the pool looks as well, while there is one.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flows.leases import WATCHER
from flows.runs import WATCH_INBOX, Runs, ServerUnreachable
from infra.records import Ledger

SUCCESSOR_TAKES_WITHIN: Final = timedelta(seconds=2)
"""A successor that Prefect's trigger has started meanwhile takes a lease that ran out within a fraction of a second."""
CALL_AGAIN: Final = timedelta(seconds=60)


@dataclass
class Guard:
    """Looks after the watcher."""

    ledger: Ledger
    runs: Runs
    _called: datetime | None = None

    def look(self, now: datetime) -> bool:
        """Call another watcher if that is due; whether it was. A server that does not answer is asked again later."""
        lease = self.ledger.lease(WATCHER)
        if lease is None or now - lease.until < SUCCESSOR_TAKES_WITHIN:
            return False
        if self._called is not None and now - self._called < CALL_AGAIN:
            return False
        self._called = now
        with suppress(ServerUnreachable):
            self.runs.declare_crashed(lease.holder, "its process died; another run watches the inbox")
            self.runs.start(WATCH_INBOX)
            return True
        return False
