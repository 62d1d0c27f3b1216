"""The story of a chunk: attempts open, hand in outcomes, and end; only the newest one is listened to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.diary import Verbs, counted, get, line, note
from infra.records.errors import BatchStopped, Fenced, Unknown
from infra.records.tables import Attempt, Batch, Chunk, Event, Image, Machine
from infra.records.values import ImageOutcome
from infra.states import (
    OPEN_CHUNKS,
    AttemptEnd,
    AttemptState,
    BatchState,
    ChunkState,
    EventKind,
    ImageState,
    MachineEnd,
    check_move,
)


class AttemptVerbs(Verbs):
    """What can happen to a chunk and its images."""

    def open_attempt(self, chunk_id: int, now: datetime, machine: str | None = None) -> Attempt:
        """Begin a try of the chunk. An attempt of it that is still open ends as SUPERSEDED.

        Raises `BatchStopped` when its batch does not run, `IllegalMove` when the chunk is settled.
        """
        with self._database.writing() as session:
            chunk = get(session, Chunk, chunk_id)
            batch = get(session, Batch, chunk.batch_id)
            if batch.state is not BatchState.RUNNING:
                raise BatchStopped(f"Batch {batch.name!r} is {batch.state}: no attempt of it may start.")
            for older in _open_attempts(session, col(Attempt.chunk_id) == chunk_id):
                _end(session, older, chunk, AttemptEnd.SUPERSEDED, now)
            chunk.state = check_move(f"Chunk {chunk.number} of {batch.name!r}", chunk.state, ChunkState.RUNNING)
            number = session.scalar(select(func.max(col(Attempt.number))).where(col(Attempt.chunk_id) == chunk_id))
            attempt = Attempt(
                batch_id=batch.id,
                chunk_id=chunk_id,
                number=(number or 0) + 1,
                state=AttemptState.OPEN,
                machine=machine,
                opened_at=now,
            )
            session.add(attempt)
            session.flush()
            said = f"Attempt {attempt.number} of chunk {chunk.number} begins."
            note(session, now, EventKind.ATTEMPT_OPENED, said, attempt, number=attempt.number)
            return attempt

    def missing(self, chunk_id: int) -> list[Image]:
        """The images of the chunk that still wait, in order."""
        with self._database.reading() as session:
            waiting = col(Image.state) == ImageState.WAITING
            query = select(Image).where(col(Image.chunk_id) == chunk_id, waiting).order_by(col(Image.number))
            return list(session.scalars(query))

    def record(self, attempt_id: int, outcomes: Sequence[ImageOutcome], now: datetime) -> int:
        """Settle images of the attempt's chunk, all in one transaction; return how many were new.

        An image that is settled already keeps its first outcome; when a second one differs, the diary tells.
        Raises `Fenced` when the attempt is not open (any more), `Unknown` for an image of another chunk.
        """
        with self._database.writing() as session:
            attempt = get(session, Attempt, attempt_id)
            if attempt.state is not AttemptState.OPEN:
                raise Fenced(
                    f"Attempt {attempt.number} of chunk {attempt.chunk_id} ended as {attempt.end}; "
                    f"its {counted(len(outcomes), 'outcome')} came too late."
                )
            images = _images(session, attempt, outcomes)
            changes: dict[int, dict[str, Any]] = {}
            lines = []
            for outcome in outcomes:
                image = images[outcome.image_id]
                if image.state is ImageState.WAITING and image.id not in changes:
                    changes[image.id] = _change(image, outcome, attempt, now)
                    if not outcome.done:
                        lines.append(_rejection(image, outcome, attempt, now))
                elif _differs(image, changes.get(image.id), outcome):
                    lines.append(_difference(image, outcome, attempt, now))
            _write(session, attempt, list(changes.values()), lines, now)
            return len(changes)

    def end_attempt(
        self,
        attempt_id: int,
        end: AttemptEnd,
        now: datetime,
        machine: str | None = None,
        *,
        in_hand: int | None = None,
        begun_at: datetime | None = None,
    ) -> Chunk:
        """End a try. Its chunk is DONE when none of its images waits, else WAITING for the next attempt.

        The diary keeps `in_hand`, the image that the machine had begun and not finished, which is done again, and
        `begun_at`, when the machine began the first one.

        One that lost a machine which is known to be preempted ends as PREEMPTED. Harmless when it ended in the same
        way already; raises `Fenced` when it ended in another way.
        """
        with self._database.writing() as session:
            attempt = get(session, Attempt, attempt_id)
            chunk = get(session, Chunk, attempt.chunk_id)
            if attempt.state is AttemptState.OPEN:
                attempt.machine = machine or attempt.machine
                _end(session, attempt, chunk, _why(session, attempt, end), now, in_hand, begun_at)
            elif attempt.end is not _why(session, attempt, end):
                raise Fenced(
                    f"Attempt {attempt.number} of chunk {chunk.number} ended as {attempt.end} already, "
                    f"so it cannot end as {end}."
                )
            return chunk


def _why(session: Session, attempt: Attempt, end: AttemptEnd) -> AttemptEnd:
    """The cause of an end, where the ledger knows more than the attempt, which only saw a connection break."""
    if end is not AttemptEnd.MACHINE_LOST or attempt.machine is None:
        return end
    cause = session.scalar(select(col(Machine.end)).where(col(Machine.name) == attempt.machine))
    return AttemptEnd.PREEMPTED if cause is MachineEnd.PREEMPTED else end


def suspend_work(session: Session, batch: Batch, end: AttemptEnd, now: datetime) -> None:
    """End all open attempts of a batch; their chunks are DONE or wait again."""
    for attempt in _open_attempts(session, col(Attempt.batch_id) == batch.id):
        _end(session, attempt, get(session, Chunk, attempt.chunk_id), end, now)


def stop_work(session: Session, batch: Batch, now: datetime) -> None:
    """End all open attempts of a batch that ended; chunks with images that wait are CANCELLED."""
    suspend_work(session, batch, AttemptEnd.CANCELLED, now)
    session.flush()
    session.execute(
        update(Chunk)
        .where(col(Chunk.batch_id) == batch.id, col(Chunk.state).in_(OPEN_CHUNKS))
        .values(state=ChunkState.CANCELLED)
    )


def _open_attempts(session: Session, whose: Any) -> Sequence[Attempt]:
    return session.scalars(select(Attempt).where(whose, col(Attempt.state) == AttemptState.OPEN)).all()


def _end(
    session: Session,
    attempt: Attempt,
    chunk: Chunk,
    end: AttemptEnd,
    now: datetime,
    in_hand: int | None = None,
    begun_at: datetime | None = None,
) -> None:
    what = f"Attempt {attempt.number} of chunk {chunk.number}"
    attempt.state = check_move(what, attempt.state, AttemptState.ENDED)
    attempt.end, attempt.ended_at = end, now
    waiting = session.scalar(
        select(func.count())
        .select_from(Image)
        .where(col(Image.chunk_id) == chunk.id, col(Image.state) == ImageState.WAITING)
    )
    to = ChunkState.WAITING if waiting else ChunkState.DONE
    chunk.state = check_move(f"Chunk {chunk.number}", chunk.state, to)
    said = f"{what} ended as {end}" + (f"; {counted(waiting, 'image')} still wait." if waiting else ".")
    details = {
        "end": end,
        "waiting": waiting,
        "chunk": to,
        "in_hand": in_hand,
        "begun_at": begun_at and begun_at.isoformat(),
    }
    note(session, now, EventKind.ATTEMPT_ENDED, said, attempt, **details)


def _images(session: Session, attempt: Attempt, outcomes: Sequence[ImageOutcome]) -> dict[int, Any]:
    keys = [outcome.image_id for outcome in outcomes]
    rows = session.execute(
        select(
            col(Image.id), col(Image.name), col(Image.state), col(Image.sha256), col(Image.reason),
            col(Image.bytes_in), col(Image.width), col(Image.height),
        ).where(col(Image.id).in_(keys), col(Image.chunk_id) == attempt.chunk_id)
    )  # fmt: skip
    images = {row.id: row for row in rows}
    for key in keys:
        if key not in images:
            raise Unknown(f"image of chunk {attempt.chunk_id} with the number", key)
    return images


def _change(image: Any, outcome: ImageOutcome, attempt: Attempt, now: datetime) -> dict[str, Any]:
    return {
        "id": image.id,
        "state": ImageState.DONE if outcome.done else ImageState.REJECTED,
        "reason": outcome.reason,
        "message": _plain(outcome.message),
        "bytes_in": image.bytes_in if outcome.bytes_in is None else outcome.bytes_in,
        "width": outcome.width or image.width,
        "height": outcome.height or image.height,
        "out_width": outcome.out_width,
        "out_height": outcome.out_height,
        "bytes_out": outcome.bytes_out,
        "sha256": outcome.sha256,
        "seconds": outcome.seconds,
        "model": outcome.model,
        "machine": outcome.machine or attempt.machine,
        "attempt": attempt.number,
        "finished_at": now,
        "notes": [_plain(said) for said in outcome.notes],
    }


def _differs(image: Any, change: dict[str, Any] | None, outcome: ImageOutcome) -> bool:
    """Whether a second outcome contradicts the first, which is in the database or among the changes."""
    state, sha256 = (change["state"], change["sha256"]) if change else (image.state, image.sha256)
    return outcome.done != (state is ImageState.DONE) or (outcome.done and outcome.sha256 != sha256)


def _rejection(image: Any, outcome: ImageOutcome, attempt: Attempt, now: datetime) -> dict[str, Any]:
    said = f"{image.name} was rejected ({outcome.reason}): {_plain(outcome.message)}"
    details = {"image": image.name, "reason": outcome.reason}
    return line(now, EventKind.IMAGE_REJECTED, said, attempt, **details)


def _difference(image: Any, outcome: ImageOutcome, attempt: Attempt, now: datetime) -> dict[str, Any]:
    said = f"Attempt {attempt.number} brought another outcome for {image.name}; the first one is kept."
    details = {"image": image.name, "done": outcome.done, "sha256": outcome.sha256, "reason": outcome.reason}
    return line(now, EventKind.RESULT_DIFFERS, said, attempt, **details)


def _write(
    session: Session,
    attempt: Attempt,
    changes: list[dict[str, Any]],
    lines: list[dict[str, Any]],
    now: datetime,
) -> None:
    if changes:
        session.execute(update(Image), changes)
        attempt.images_done += len(changes)
        done = sum(change["state"] is ImageState.DONE for change in changes)
        batch = get(session, Batch, attempt.batch_id)
        if done and batch.first_result_at is None:
            batch.first_result_at = now
        batch.restarts = 0  # it gets on: only deaths without any progress in between make it hopeless
        said = f"{counted(done, 'image')} done, {len(changes) - done} rejected."
        counts = {"done": done, "rejected": len(changes) - done}
        lines = [line(now, EventKind.IMAGES_RECORDED, said, attempt, **counts), *lines]
    if lines:
        session.execute(insert(Event), lines)


def _plain(text: str) -> str:
    """Text that both databases can store: no NUL, no half characters from broken file names."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
