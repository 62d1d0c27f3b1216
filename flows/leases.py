"""The leases by which our runs show that they live: their names, for how long one sign of life is good, and how
to keep one while the ledger comes and goes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from infra.records import Ledger, LedgerUnreachable

WATCHER: Final = "watcher"
KEEPER: Final = "pool-keeper"

WATCHER_SECONDS: Final = 10.0
KEEPER_SECONDS: Final = 30.0
BATCH_SECONDS: Final = 20.0

RENEW_EARLY: Final = 10
"""A lease is renewed after this part of its time."""


def of_batch(batch_id: int) -> str:
    """The lease that the living run of a batch holds."""
    return f"batch-{batch_id}"


class KeptLease:
    """A lease in the hands of one process, renewed by asking whether it is still ours."""

    def __init__(self, ledger: Ledger, name: str, holder: str, seconds: float, say: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._name = name
        self.holder = holder
        self._length = timedelta(seconds=seconds)
        self._say = say
        self._renewed: datetime | None = None
        self._lost = False
        self._in_doubt = False
        self._kept = False

    def still_ours(self, now: datetime) -> bool:
        """Whether nobody else can have it: take it, or renew it when that is due.

        A ledger that cannot be reached costs the lease only when its time is over. While it is `kept`, nothing is
        asked here. One that somebody else had meanwhile is never ours again.
        """
        due = self._renewed is None or now - self._renewed >= self._length / RENEW_EARLY
        if due and not self._kept and not self._lost:
            self._renew(now)
        return self._renewed is not None and not self._lost and now - self._renewed < self._length

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it in a thread for as long as the block takes, however long that is busy with something else."""
        ended = threading.Event()

        def keep() -> None:
            while not self._lost and not ended.wait(self._length.total_seconds() / RENEW_EARLY):
                self._renew(datetime.now(UTC))

        thread = threading.Thread(target=keep, name=f"lease {self._name}", daemon=True)
        self._kept = True
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._kept = False

    def _renew(self, now: datetime) -> None:
        """Take it; or renew it, unless somebody else had it meanwhile: to hold it again would be to take it anew."""
        try:
            if self._renewed is not None:
                lease = self._ledger.lease(self._name)
                self._lost = lease is None or lease.holder != self.holder
            ours = not self._lost and self._ledger.hold(self._name, self.holder, self._length.total_seconds(), now)
        except LedgerUnreachable as error:
            self.doubt(error)
            return
        self._lost = self._lost or (self._renewed is not None and not ours)
        self._renewed = now if ours else None
        self._in_doubt = False

    def doubt(self, error: LedgerUnreachable) -> None:
        """Say once that the ledger is not there, until it is again."""
        if not self._in_doubt:
            self._say(f"{error} Trying again for up to {self._length.total_seconds():.0f} s.")
        self._in_doubt = True

    def let_go(self) -> None:
        """Give it back, if it is still ours; without the ledger it runs out by itself."""
        with suppress(LedgerUnreachable):
            self._ledger.let_go(self._name, self.holder)
