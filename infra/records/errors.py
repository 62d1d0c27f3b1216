"""What can go wrong when the ledger is asked something, each as a sentence that a user can be shown."""

from infra.states import IllegalMove

__all__ = [
    "BatchStopped",
    "Fenced",
    "IllegalMove",
    "LedgerError",
    "LedgerTooNew",
    "LedgerUnreachable",
    "Refused",
    "Unknown",
]


class LedgerError(Exception):
    """The ledger refuses, and its text says why."""


class Unknown(LedgerError):
    """Nothing of that name or number is in the ledger."""

    def __init__(self, what: str, key: str | int) -> None:
        super().__init__(f"The ledger knows no {what} {key!r}.")
        self.key = key


class Fenced(LedgerError):
    """This attempt is no longer the owner of its chunk; what it hands in now comes too late."""


class BatchStopped(LedgerError):
    """The batch does not run (any more), so nothing new of it may start."""


class Refused(LedgerError):
    """The step would make the ledger contradict itself."""


class LedgerUnreachable(LedgerError):
    """The database cannot be opened, read or written at the moment."""


class LedgerTooNew(LedgerError):
    """The database was written by a later version of the program than this one."""
