"""What happens in a life of the pool, as an artifact of its run, so that people can watch the pool in the UI."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from infra.records import Ledger
from infra.records.tables import Event

WRITE_EVERY: Final = timedelta(seconds=10)
PATIENCE: Final = 5.0
"""Seconds that the server may take; the keeper has machines to look after meanwhile."""


class Diary:
    """The diary of one life as a Markdown table that grows. `show` gets the whole table whenever it has grown."""

    def __init__(self, ledger: Ledger, life_id: int, show: Callable[[int, str], None]) -> None:
        self._ledger = ledger
        self._life_id = life_id
        self._show = show
        self._lines = ["| time (UTC) | what happened |", "| --- | --- |"]
        self._last = 0
        self._written: datetime | None = None

    def keep_up(self, now: datetime) -> None:
        """Show what is new, if the last time was long enough ago."""
        if self._written is None or now - self._written >= WRITE_EVERY:
            self._written = now
            self.catch_up()

    def catch_up(self) -> None:
        """Show what is new, if anything is."""
        length = len(self._lines)
        while news := self._ledger.events(self._last, life_id=self._life_id):
            self._last = news[-1].id
            self._lines += map(_row, news)
        if len(self._lines) > length:
            self._show(self._life_id, "\n".join(self._lines))


def _row(event: Event) -> str:
    message = event.message.replace("|", "\\|").replace("\n", " ")
    return f"| {event.at:%H:%M:%S} | {message} |"


class DiaryArtifact:
    """One artifact of a flow run. A server that does not answer costs the picture, not the pool."""

    def __init__(self, run_id: UUID, say: Callable[[str], None]) -> None:
        self._run_id = run_id
        self._say = say
        self._id: UUID | None = None

    def show(self, life_id: int, markdown: str) -> None:
        """Make the artifact, or bring it up to date."""
        settings = {"timeout": PATIENCE}
        try:
            with (
                temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
                get_client(httpx_settings=settings, sync_client=True) as client,
            ):
                if self._id is not None:
                    client.update_artifact(self._id, ArtifactUpdate(data=markdown))
                    return
                artifact = ArtifactCreate(
                    key=f"pool-life-{life_id}",
                    type="markdown",
                    description=f"Diary of life {life_id} of the pool",
                    data=markdown,
                    flow_run_id=self._run_id,
                )
                self._id = client.create_artifact(artifact).id
        except (httpx.HTTPError, PrefectException) as error:
            self._say(f"the diary cannot be shown: {error}")
