"""Answers questions about batches, images and their history; nothing here changes the ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, cast, false, func, select
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.diary import Verbs, get
from infra.records.errors import Unknown
from infra.records.tables import Attempt, Batch, Chunk, Event, Image
from infra.records.values import Progress
from infra.states import OPEN_BATCHES, OPEN_CHUNKS, AttemptState, ChunkState, ImageState

_PIXELS = cast(col(Image.width), BigInteger) * col(Image.height)


class ReadingVerbs(Verbs):
    """What the ledger can be asked."""

    def find_batch(self, name: str) -> Batch | None:
        """The batch of that name, or None."""
        with self._database.reading() as session:
            return session.scalars(select(Batch).where(col(Batch.name) == name)).one_or_none()

    def batch(self, key: str | int) -> Batch:
        """The batch of that name or number; raises `Unknown`."""
        if isinstance(key, int):
            with self._database.reading() as session:
                return get(session, Batch, key)
        batch = self.find_batch(key)
        if batch is None:
            raise Unknown("batch", key)
        return batch

    def batches(self, *, open_only: bool = False) -> list[Batch]:
        """All batches, or those that have not ended, in the order of their arrival."""
        query = select(Batch).order_by(col(Batch.id))
        if open_only:
            query = query.where(col(Batch.state).in_(OPEN_BATCHES))
        with self._database.reading() as session:
            return list(session.scalars(query))

    def images(self, batch_id: int, state: ImageState | None = None) -> list[Image]:
        """The images of a batch in order, all or those in one state."""
        query = select(Image).where(col(Image.batch_id) == batch_id).order_by(col(Image.number))
        if state is not None:
            query = query.where(col(Image.state) == state)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def chunks(self, batch_id: int, *, open_only: bool = False) -> list[Chunk]:
        """The chunks of a batch in order, all or those that are WAITING or RUNNING."""
        query = select(Chunk).where(col(Chunk.batch_id) == batch_id).order_by(col(Chunk.number))
        if open_only:
            query = query.where(col(Chunk.state).in_(OPEN_CHUNKS))
        with self._database.reading() as session:
            return list(session.scalars(query))

    def attempts(self, batch_id: int) -> list[Attempt]:
        """All attempts of a batch in the order in which they opened."""
        query = select(Attempt).where(col(Attempt.batch_id) == batch_id).order_by(col(Attempt.id))
        with self._database.reading() as session:
            return list(session.scalars(query))

    def events(
        self, after_id: int = 0, *, batch_id: int | None = None, life_id: int | None = None, most: int = 1000
    ) -> list[Event]:
        """The diary after a line, oldest first: all of it, or what is about one batch or one life."""
        query = select(Event).where(col(Event.id) > after_id).order_by(col(Event.id)).limit(most)
        if batch_id is not None:
            query = query.where(col(Event.batch_id) == batch_id)
        if life_id is not None:
            query = query.where(col(Event.life_id) == life_id)
        with self._database.reading() as session:
            return list(session.scalars(query))

    def progress(self, batch_id: int) -> Progress:
        """How far a batch is, counted in the database."""
        with self._database.reading() as session:
            batch = get(session, Batch, batch_id)
            states = {row.state: row for row in session.execute(_by_state(batch_id))}
            settled = session.execute(_settled_since(batch_id, batch.started_at)).one()
            chunks = _counts(session, Chunk, Chunk.state, batch_id)
            attempts = _counts(session, Attempt, Attempt.state, batch_id)

        def images(state: ImageState) -> int:
            return int(states[state].images) if state in states else 0

        done = states.get(ImageState.DONE)
        return Progress(
            images=sum(row.images for row in states.values()),
            waiting=images(ImageState.WAITING),
            done=images(ImageState.DONE),
            rejected=images(ImageState.REJECTED),
            cancelled=images(ImageState.CANCELLED),
            pixels=sum(int(row.pixels or 0) for row in states.values()),
            pixels_done=int(done.pixels or 0) if done else 0,
            bytes_out=int(done.bytes_out or 0) if done else 0,
            machine_seconds=float(done.seconds or 0) if done else 0.0,
            chunks=sum(count for state, count in chunks.items() if state != ChunkState.CANCELLED),
            chunks_done=chunks.get(ChunkState.DONE, 0),
            attempts_open=attempts.get(AttemptState.OPEN, 0),
            started_at=batch.started_at,
            first_result_at=batch.first_result_at,
            last_result_at=settled.last,
            settled_this_round=settled.images,
            pixels_this_round=int(settled.pixels or 0),
        )

    def speed(self, model: str, scale: int | None = None, last: int = 1000) -> float | None:
        """Input pixels per second of machine time, over the latest images of the model; None if none.

        `model` is as a batch has it. With a `scale`, those of the last `last` images of each model count that were made
        so many times larger.
        """
        pixels = seconds = 0.0
        with self._database.reading() as session:
            for name in _names_behind(model):
                row = session.execute(_worked(name, scale, last)).one()
                pixels, seconds = pixels + float(row.pixels or 0), seconds + float(row.seconds or 0)
        return pixels / seconds if seconds else None


def _names_behind(model: str) -> tuple[str, ...]:
    """The models that images of a batch may have had: `auto-fast` gives an image to `fast` or to `fast-jpeg`."""
    tier = model.removeprefix("auto-")
    return (model,) if tier == model else (tier, f"{tier}-jpeg")


def _worked(model: str, scale: int | None, last: int) -> Any:
    recent = (
        select(_PIXELS.label("pixels"), col(Image.seconds), col(Image.width), col(Image.out_width))
        .where(col(Image.model) == model, col(Image.state) == ImageState.DONE, col(Image.seconds) > 0)
        .where(col(Image.width).is_not(None))
        .order_by(col(Image.finished_at).desc())
        .limit(last)
        .subquery()
    )
    query = select(func.sum(recent.c.pixels).label("pixels"), func.sum(recent.c.seconds).label("seconds"))
    return query if scale is None else query.where(recent.c.out_width == scale * recent.c.width)


def _by_state(batch_id: int) -> Any:
    return (
        select(
            col(Image.state),
            func.count().label("images"),
            func.sum(_PIXELS).label("pixels"),
            func.sum(col(Image.bytes_out)).label("bytes_out"),
            func.sum(col(Image.seconds)).label("seconds"),
        )
        .where(col(Image.batch_id) == batch_id)
        .group_by(col(Image.state))
    )


def _settled_since(batch_id: int, start: datetime | None) -> Any:
    done = col(Image.state) == ImageState.DONE
    query = select(
        func.count().label("images"),
        func.sum(_PIXELS).filter(done).label("pixels"),
        func.max(col(Image.finished_at)).label("last"),
    ).where(col(Image.batch_id) == batch_id, col(Image.state).in_([ImageState.DONE, ImageState.REJECTED]))
    # A batch that has not started in this round has settled nothing in it.
    return query.where(col(Image.finished_at) >= start if start is not None else false())


def _counts(session: Session, table: type[Chunk] | type[Attempt], state: Any, batch_id: int) -> dict[str, int]:
    query = select(state, func.count()).where(col(table.batch_id) == batch_id).group_by(state)
    return {row[0]: row[1] for row in session.execute(query)}
