"""The plain values that go into the ledger and come out of it, besides the rows themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class NewImage:
    """One image of a batch as its header describes it, before anything was decoded."""

    name: str  # relative POSIX name in the inbox, unique in the batch
    output_name: str  # relative POSIX name in the outbox, unique in the batch
    bytes_in: int
    width: int | None = None  # pixels; None when the header does not tell
    height: int | None = None
    reason: str | None = None  # set when it is rejected without being tried
    message: str = ""


@dataclass(frozen=True)
class NewChunk:
    """Images that travel to a machine together."""

    images: Sequence[str]  # names of images of this batch
    pixels: int  # how many input pixels they have together, as far as known


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image in one attempt, in plain values as they come back from a machine."""

    image_id: int
    done: bool  # True: its result is published; False: it is rejected
    reason: str | None = None  # why it is rejected, a name from `workers.rejects`
    message: str = ""
    width: int | None = None  # input pixels
    height: int | None = None
    out_width: int | None = None  # output pixels
    out_height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    sha256: str | None = None  # of the published file
    seconds: float | None = None  # that the machine spent on it
    model: str | None = None
    machine: str | None = None
    notes: Sequence[str] = field(default=())


@dataclass(frozen=True)
class WaitingWork:
    """What an open batch still needs of the pool."""

    batch: str
    model: str
    scale: int
    chunks: int  # that are not DONE
    pixels: int  # input pixels in those chunks
    unread: bool  # it has just arrived: nobody knows yet what it needs
    asked_at: datetime  # when it was handed in, or its retry was asked for
    retried_at: datetime | None = None  # when its retry was last asked for


@dataclass(frozen=True)
class Progress:
    """How far a batch is. Pixels are input pixels of images whose size is known."""

    images: int
    waiting: int
    done: int
    rejected: int
    cancelled: int
    pixels: int
    pixels_done: int
    bytes_out: int
    machine_seconds: float  # spent on the images that are done
    chunks: int  # of the current and earlier rounds, without cancelled ones
    chunks_done: int
    attempts_open: int
    started_at: datetime | None  # of the current round
    first_result_at: datetime | None  # of the current round
    last_result_at: datetime | None  # of the current round
    settled_this_round: int  # images done or rejected since started_at
    pixels_this_round: int  # of the images done since started_at

    @property
    def settled(self) -> int:
        """Images that no longer wait."""
        return self.images - self.waiting

    def images_per_second(self) -> float | None:
        """Images settled in this round per second of wall time; None before the first two."""
        return _rate(self.settled_this_round, self.started_at, self.last_result_at)

    def pixels_per_second(self) -> float | None:
        """Input pixels enhanced in this round per second of wall time; None before the first result."""
        return _rate(self.pixels_this_round, self.started_at, self.last_result_at)

    def seconds_left(self) -> float | None:
        """Wall time until the last image, at the speed of this round so far; None when not known yet."""
        rate = self.images_per_second()
        return self.waiting / rate if rate else None


def _rate(amount: int, start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None or end <= start or not amount:
        return None
    return amount / (end - start).total_seconds()
