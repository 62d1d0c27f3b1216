"""What travels between the controller and a machine: small, plain values that both sides can check.

A chunk of images goes out; one outcome per image comes back. Where the bytes lie is a value too: the job carries
the stores to read from and to publish to, and this package knows them only by the protocol below.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """The part of a store that a machine needs. Keys are relative POSIX names.

    Trouble is an OSError; it has an `errno` wherever the trouble may concern a single file (see `workers.blame`).
    """

    def local_path(self, key: str) -> Path | None:
        """The file itself where it can be read in place, else None: then `download` it."""

    def download(self, key: str, path: Path) -> None: ...

    def publish(self, path: Path, key: str, *, replace: bool = False) -> bool:
        """Make the file visible under `key`, whole or not at all.

        False if something was there already, which stays as it is; with `replace` it does not.
        """

    def checksum(self, key: str) -> str | None:
        """SHA-256 of the file in hex, None if there is none."""

    def read_if_there(self, key: str) -> bytes | None: ...

    def put(self, key: str, data: bytes) -> None:
        """Write whole or not at all, replacing what was there."""


@dataclass(frozen=True)
class ImageJob:
    """One image of a chunk. Keys are relative to the stores of the chunk."""

    image_id: int
    source: str
    target: str
    receipt: str
    """Key (in `work`) of the note that this image was worked off; a chunk that is sent again reads it and goes on."""
    preview: str | None = None
    """Stem (in `work`) of the before and after pictures for the report, if wanted."""


@dataclass(frozen=True)
class ChunkJob:
    """The unit of dispatch: images that one machine works off, several of them at the same time."""

    batch: str
    attempt: int
    topic: str
    """Dask topic on which each image is told of when it is begun and when it has ended."""
    model: str
    """A shipped model's name, or the key of a `.keras` file in `work`."""
    model_name: str
    """What people call the model."""
    model_checksum: str
    scale: int
    images: tuple[ImageJob, ...]
    inputs: Files
    outputs: Files
    work: Files
    one_at_a_time: bool = False
    """For images of which one may have taken down a machine: which one must be known the next time."""


@dataclass(frozen=True)
class Outcome:
    """How one image ended: done, or rejected with a reason. Plain JSON values; sizes in pixels and bytes."""

    image_id: int
    done: bool
    machine: str
    model: str
    reason: str | None = None
    message: str | None = None
    width: int | None = None
    height: int | None = None
    out_width: int | None = None
    out_height: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    sha256: str | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChunkResult:
    """What a machine gives back: the outcomes, and the images that it left for another machine."""

    outcomes: tuple[Outcome, ...]
    left: tuple[int, ...] = ()
