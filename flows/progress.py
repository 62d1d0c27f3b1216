"""How far a batch is, as an artifact of its run that a person understands."""

from collections.abc import Callable
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from flows.spans import clock
from infra.records import Progress


class ProgressArtifact:
    """One progress bar, created with the first sign of progress and changed only when something changed."""

    def __init__(self, batch: str) -> None:
        self.batch = batch
        self._id: UUID | None = None
        self._shown = ""

    def show(self, progress: Progress, complain: Callable[..., None]) -> None:
        """Bring the artifact up to date. A server that does not answer costs the picture, not the batch."""
        text = sentence(progress)
        if text == self._shown or not progress.images:
            return
        share = 100.0 * progress.settled / progress.images
        try:
            if self._id is None:
                self._id = cast(UUID, create_progress_artifact(share, key=_key(self.batch), description=text))
            else:
                update_progress_artifact(self._id, share, description=text)
        except (httpx.HTTPError, PrefectException) as error:
            complain("the progress cannot be shown: %s", error)
        self._shown = text


def sentence(progress: Progress) -> str:
    """Images done and in total, rejects, speed and time left, as far as they are known."""
    parts = [f"{progress.done} of {progress.images} images enhanced"]
    if progress.rejected:
        parts.append(f"{progress.rejected} rejected")
    if (speed := progress.images_per_second()) is not None:
        parts.append(f"{speed:.1f} images/s")
    if progress.waiting and (left := progress.seconds_left()) is not None:
        parts.append(f"about {clock(left)} left")
    return ", ".join(parts)


def _key(batch: str) -> str:
    """Artifact keys take lower-case letters, digits and dashes only."""
    return "progress-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in batch.lower())
