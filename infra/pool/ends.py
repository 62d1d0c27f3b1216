"""How work on the pool may end without a result, by name; light enough for whoever need not speak to the scheduler."""


class PoolError(Exception):
    """The work did not end, and not because of the work itself: it may be sent again."""


class MachineLost(PoolError):
    """The machine that worked on it is gone."""

    def __init__(self, machine: str) -> None:
        super().__init__(f"machine {machine} is gone")
        self.machine = machine


class PoolGone(PoolError):
    """The scheduler does not answer any more, or has forgotten the work."""


class TookTooLong(PoolError):
    """No news of the work for longer than it may take."""


class Stopped(Exception):
    """The work is not wanted any more."""
