"""How long a call to the cloud is repeated, and when, as a value: so the rule is tested without waiting."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Waits that double, up to a longest one, within a total. The official client itself repeats no POST and no 403."""

    total: float = 20.0
    """Seconds after which the trouble is told to the caller."""
    first: float = 0.5
    longest: float = 8.0
    request: float = 20.0
    """Seconds that one request may take."""

    def pause(self, repeats: int, elapsed: float, luck: float) -> float | None:
        """Seconds until the next try, None when it is time to give up.

        `repeats` counts the tries that were repeated so far, `elapsed` the seconds since the first. `luck`, between 0
        and 1, spreads callers who were turned away together: the wait lies between half of the full one and all of it.
        """
        full = min(self.longest, self.first * 2.0 ** min(repeats, 30))
        wait = full * (0.5 + 0.5 * luck)
        return wait if elapsed + wait < self.total else None
