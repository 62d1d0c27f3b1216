"""Writes down which images a batch has and how they are cut into chunks, in each of its rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.diary import Verbs, counted, get, line, note, shown
from infra.records.errors import Refused
from infra.records.tables import Batch, Chunk, Event, Image
from infra.records.values import NewChunk, NewImage
from infra.states import BatchState, ChunkState, EventKind, ImageState, check_move


class RegistryVerbs(Verbs):
    """How a batch gets its images and chunks."""

    def register(
        self,
        batch_id: int,
        images: Sequence[NewImage],
        chunks: Sequence[NewChunk],
        now: datetime,
        *,
        model_checksum: str = "",
    ) -> Batch:
        """REGISTERED: its images and chunks are known. Harmless when it is REGISTERED or RUNNING already.

        In a later round, images that are DONE stay as they are and drop out of the chunks; an image that the
        ledger knows keeps its output name, and need not be listed again. Raises `Refused` when an image would
        wait in no chunk or in two, when two would have the same output name, or when there is none at all.
        """
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state in (BatchState.REGISTERED, BatchState.RUNNING):
                return batch
            batch.state = check_move(f"Batch {batch.name!r}", batch.state, BatchState.REGISTERED)
            batch.registered_at = now
            batch.model_checksum = model_checksum
            known = _known(session, batch_id)
            plan = _plan(batch, known, images, chunks)
            chunk_of = _insert_chunks(session, batch_id, plan.chunks)
            _write(session, batch, known, plan.images, chunk_of, now)
            said = f"Batch {batch.name!r} has {counted(len(known) + plan.new, 'image')}, "
            said += f"{counted(len(chunk_of), 'image')} to do in {counted(len(plan.chunks), 'chunk')}."
            counts = {"images": len(known) + plan.new, "waiting": len(chunk_of), "chunks": len(plan.chunks)}
            note(session, now, EventKind.BATCH_REGISTERED, said, batch, state=batch.state, **counts)
            return batch


@dataclass(frozen=True)
class _Plan:
    images: list[NewImage]  # to insert or to update
    chunks: list[NewChunk]  # of images that wait
    new: int  # how many of the images the ledger does not know yet


def _known(session: Session, batch_id: int) -> dict[str, Any]:
    columns = (col(Image.id), col(Image.name), col(Image.output_name), col(Image.state))
    return {row.name: row for row in session.execute(select(*columns).where(col(Image.batch_id) == batch_id))}


def _plan(batch: Batch, known: dict[str, Any], images: Sequence[NewImage], chunks: Sequence[NewChunk]) -> _Plan:
    done = {name for name, image in known.items() if image.state is ImageState.DONE}
    todo = [image for image in images if image.name not in done]
    new = [image for image in todo if image.name not in known]
    cut = [NewChunk([name for name in chunk.images if name not in done], chunk.pixels) for chunk in chunks]
    cut = [chunk for chunk in cut if chunk.images]

    def refuse(names: Sequence[str], what: str) -> None:
        if names:
            raise Refused(f"Batch {batch.name!r} cannot be registered: {what}: {shown(sorted(names))}.")

    if not known and not images:
        raise Refused(f"Batch {batch.name!r} cannot be registered: it has no image.")
    in_chunks = [name for chunk in cut for name in chunk.images]
    waiting = {name for name in known if name not in done} | {image.name for image in new}
    waiting -= {image.name for image in todo if image.reason is not None}
    refuse(_repeated(in_chunks), "in two chunks")
    refuse(_repeated([image.name for image in images]), "listed twice")
    refuse(list(waiting - set(in_chunks)), "to be enhanced, but in no chunk")
    refuse(list(set(in_chunks) - waiting), "in a chunk, but not to be enhanced")
    outputs = [image.output_name for image in known.values()] + [image.output_name for image in new]
    refuse(_repeated(outputs), "output names of two images")
    return _Plan(todo, cut, len(new))


def _repeated(names: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _insert_chunks(session: Session, batch_id: int, chunks: Sequence[NewChunk]) -> dict[str, int]:
    """Insert the chunks; return in which of them (by id) each image travels."""
    last = session.scalar(select(func.max(col(Chunk.number))).where(col(Chunk.batch_id) == batch_id)) or 0
    rows = [
        {"batch_id": batch_id, "number": number, "pixels": chunk.pixels, "state": ChunkState.WAITING}
        for number, chunk in enumerate(chunks, last + 1)
    ]
    if rows:
        session.execute(insert(Chunk), rows)
    query = select(col(Chunk.id)).where(col(Chunk.batch_id) == batch_id, col(Chunk.number) > last)
    keys = session.scalars(query.order_by(col(Chunk.number))).all()
    return {name: key for key, chunk in zip(keys, chunks, strict=True) for name in chunk.images}


def _write(
    session: Session,
    batch: Batch,
    known: dict[str, Any],
    images: Sequence[NewImage],
    chunk_of: dict[str, int],
    now: datetime,
) -> None:
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for image in images:
        values = {
            "chunk_id": chunk_of.get(image.name),
            "bytes_in": image.bytes_in,
            "width": image.width,
            "height": image.height,
            "state": ImageState.WAITING if image.reason is None else ImageState.REJECTED,
            "reason": image.reason,
            "message": image.message,
            "finished_at": None if image.reason is None else now,
        }
        if image.name in known:
            updates.append({"id": known[image.name].id, **values})
        else:
            identity = {"batch_id": batch.id, "number": len(known) + len(inserts) + 1, "name": image.name}
            inserts.append({**identity, "output_name": image.output_name, "notes": [], **values})
        if image.reason is not None:
            said = f"{image.name} was rejected ({image.reason}): {image.message}"
            details = {"image": image.name, "reason": image.reason}
            lines.append(line(now, EventKind.IMAGE_REJECTED, said, batch, **details))
    if inserts:
        session.execute(insert(Image), inserts)
    if updates:
        session.execute(update(Image), updates)
    listed = {image.name for image in images}
    if moved := [{"id": known[name].id, "chunk_id": chunk} for name, chunk in chunk_of.items() if name not in listed]:
        session.execute(update(Image), moved)
    if lines:
        session.execute(insert(Event), lines)
