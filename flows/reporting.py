"""Manifest and report of a batch: gathered from the ledger, published beside its results."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from flows.registering import work_key
from infra.arrivals import Survey
from infra.records import Attempt, Batch, Chunk, Image, Ledger
from infra.report import (
    AttemptLine,
    BatchLine,
    IgnoredLine,
    ImageLine,
    Preview,
    Story,
    manifest_json,
    page,
)
from infra.states import BatchState, ImageState
from infra.storage import Missing, Store

MANIFEST = "manifest.json"
REPORT = "report.html"


def publish(ledger: Ledger, batch: Batch, survey: Survey | None, outputs: Store, work: Store) -> str:
    """Write manifest and report of a batch beside its results, replacing those of an earlier round.

    `batch` is the row as it ends, which the ledger need not know yet. Returns where the report lies.
    """
    story = tell(ledger, batch, survey)
    outputs.write(f"{batch.name}/{MANIFEST}", manifest_json(story))
    key = f"{batch.name}/{REPORT}"
    outputs.write(key, page(story, previews(work, batch, story.images)).encode())
    return str(outputs.local_path(key) or key)


def clean_up(batch: Batch, work: Store) -> None:
    """Remove what machines noted and made for a batch that is DONE; of others a retry may need it."""
    if batch.state is BatchState.DONE:
        for stat in list(work.list(f"{work_key(batch)}/")):
            work.delete(stat.key)


def tell(ledger: Ledger, batch: Batch, survey: Survey | None) -> Story:
    """The story of a batch as plain values."""
    chunks = {chunk.id: chunk for chunk in ledger.chunks(batch.id)}
    return Story(
        batch=BatchLine(**_shared(BatchLine, batch)),
        images=tuple(ImageLine(**_shared(ImageLine, image)) for image in ledger.images(batch.id)),
        ignored=tuple(IgnoredLine(file.name, file.why) for file in survey.ignored) if survey else (),
        attempts=tuple(_attempt(attempt, chunks) for attempt in ledger.attempts(batch.id)),
    )


def previews(work: Store, batch: Batch, images: tuple[ImageLine, ...]) -> Mapping[int, Preview]:
    """Before and after pictures, by the number of the image, as far as machines have made them."""
    found: dict[int, Preview] = {}
    for image in images:
        if image.state == ImageState.DONE:
            stem = f"{work_key(batch)}/previews/{image.number}"
            try:
                found[image.number] = Preview(work.read(f"{stem}.before.jpg"), work.read(f"{stem}.after.jpg"))
            except Missing:
                continue
    return found


def _attempt(attempt: Attempt, chunks: Mapping[int, Chunk]) -> AttemptLine:
    seconds = (attempt.ended_at - attempt.opened_at).total_seconds() if attempt.ended_at else None
    return AttemptLine(
        chunk=chunks[attempt.chunk_id].number,
        number=attempt.number,
        machine=attempt.machine,
        end=attempt.end,
        seconds=seconds,
        images=attempt.images_done,
    )


def _shared(kind: type[BatchLine] | type[ImageLine], row: Batch | Image) -> dict[str, Any]:
    """The fields that a line and a row have in common, by name."""
    values = {field.name: getattr(row, field.name) for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
