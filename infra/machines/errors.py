"""Why the cloud did not do as asked, in types that carry what to do next.

*Temporary*: ask again, later or elsewhere. *Permanent*: asking again is pointless until a person has mended it.
`where` says what the trouble is about: one zone, one region, or everything.
"""

from enum import StrEnum


class Where(StrEnum):
    """How far a trouble reaches."""

    ZONE = "ZONE"  # other zones may have what this one has not
    REGION = "REGION"  # the quota of a region is used up
    EVERYWHERE = "EVERYWHERE"  # no other place would help


class CloudError(Exception):
    """Base of all of them; the message says what is wrong and what to do."""

    where: Where = Where.EVERYWHERE


class Temporary(CloudError):
    """Ask again after `delay` seconds, or elsewhere."""

    def __init__(self, message: str, delay: float = 5.0) -> None:
        super().__init__(message)
        self.delay = delay


class Permanent(CloudError):
    """Somebody must change something first."""


class Stockout(Temporary):
    """A zone has no such machine at the moment."""

    where = Where.ZONE

    def __init__(self, message: str, zones_available: tuple[str, ...] = (), delay: float = 60.0) -> None:
        super().__init__(message, delay)
        self.zones_available = zones_available
        """Zones that have some, if the cloud said so."""


class QuotaReached(Temporary):
    """The project may not have more: of a region, or (GPUS_ALL_REGIONS) of all."""

    def __init__(self, message: str, metric: str, where: Where, delay: float = 300.0) -> None:
        super().__init__(message, delay)
        self.metric = metric
        self.where = where


class RateLimited(Temporary):
    """Too many requests."""


class CloudUnreachable(Temporary):
    """No answer, or none that makes sense: nothing was learnt."""


class Unclear(Temporary):
    """The request was sent and its answer was lost: look whether it was done before asking again."""


class AlreadyThere(Unclear):
    """Something of that name exists, most likely because an earlier request was carried out: look."""


class Refused(Permanent):
    """The cloud will not do this: no permission, an image or machine type that does not exist, a bad request."""

    def __init__(self, message: str, where: Where = Where.EVERYWHERE) -> None:
        super().__init__(message)
        self.where = where
        """A machine type that one zone does not offer may be had in another."""


class NotThere(Permanent):
    """There is no such thing (any more)."""
