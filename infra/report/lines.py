"""The plain values that manifest and page are made of, and the few sums over them that both tell."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infra.states import ImageState


@dataclass(frozen=True)
class BatchLine:
    """The batch as a whole. Times are in UTC; None for what has not happened."""

    name: str
    state: str
    model: str
    scale: int
    reason: str | None = None
    message: str = ""
    model_checksum: str = ""
    output_format: str | None = None  # None: like each input
    note: str = ""
    round: int = 1  # one more for each retry
    arrived_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds of the last round, from the first machine's work to the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class ImageLine:
    """One image. Sizes in pixels and bytes; None for what is not known."""

    number: int
    name: str  # relative POSIX name in the batch
    output_name: str  # relative POSIX name beside the report
    state: str
    reason: str | None = None
    message: str = ""
    width: int | None = None
    height: int | None = None
    out_width: int | None = None
    out_height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    sha256: str | None = None  # of the published file
    seconds: float | None = None  # of one machine
    model: str | None = None
    machine: str | None = None
    attempt: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttemptLine:
    """One try of a chunk of images on one machine."""

    chunk: int
    number: int
    machine: str | None
    end: str | None  # None while it is open
    seconds: float | None
    images: int  # that this try settled


@dataclass(frozen=True)
class IgnoredLine:
    """A file of the batch that was passed over."""

    name: str
    why: str


@dataclass(frozen=True)
class Preview:
    """The same part of an image before and after, as JPEG files."""

    before: bytes
    after: bytes


@dataclass(frozen=True)
class Story:
    """All there is to tell about a batch."""

    batch: BatchLine
    images: tuple[ImageLine, ...]
    ignored: tuple[IgnoredLine, ...] = ()
    attempts: tuple[AttemptLine, ...] = ()

    @property
    def counts(self) -> Mapping[ImageState, int]:
        """How many images are in each state; every state is there."""
        found = Counter(image.state for image in self.images)
        return {state: found[state] for state in ImageState}

    @property
    def models(self) -> Mapping[str, int]:
        """How many images each model has enlarged, by name."""
        return dict(sorted(Counter(i.model for i in self.images if i.state == ImageState.DONE and i.model).items()))

    @property
    def megapixels_in(self) -> float:
        """Of the images that were enhanced."""
        return sum((i.width or 0) * (i.height or 0) for i in self.images if i.state == ImageState.DONE) / 1e6

    @property
    def megapixels_out(self) -> float:
        """Of the results."""
        return sum((i.out_width or 0) * (i.out_height or 0) for i in self.images) / 1e6

    @property
    def megapixels_per_second(self) -> float | None:
        """Megapixels of results per second of the clock; None when nothing was measured.

        After a retry the seconds are those of the last round only, so there is no honest quotient then.
        """
        seconds = self.batch.seconds
        if not seconds or not self.megapixels_out or self.batch.round > 1:
            return None
        return self.megapixels_out / seconds

    @property
    def machine_seconds(self) -> float:
        """Seconds that machines worked on images, added up."""
        return sum(image.seconds or 0 for image in self.images)
