"""The story of a batch, from the inbox to its end, one verb for each turn that it takes."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from sqlmodel import col

from infra.records.attempts import stop_work, suspend_work
from infra.records.diary import Verbs, counted, get, note
from infra.records.errors import Refused
from infra.records.tables import Batch, Image
from infra.states import (
    OPEN_BATCHES,
    AttemptEnd,
    BatchEnd,
    BatchState,
    EventKind,
    ImageState,
    SourceKind,
    check_move,
)


class BatchVerbs(Verbs):
    """What can happen to a batch as a whole."""

    def take(
        self,
        name: str,
        *,
        kind: SourceKind,
        source: str,
        fingerprint: str,
        model: str,
        scale: int,
        output_format: str | None = None,
        tonight: bool = False,
        note: str = "",
        now: datetime,
    ) -> Batch | None:
        """Take a batch from the inbox: ARRIVED. None when the name is taken; of many takers one gets it."""
        wish = {"model": model, "scale": scale, "output_format": output_format}
        with self._database.writing() as session:
            return _arrive(session, name, kind, source, fingerprint, now, {**wish, "tonight": tonight, "note": note})

    def refuse(
        self,
        name: str,
        *,
        kind: SourceKind,
        source: str,
        fingerprint: str,
        reason: BatchEnd,
        message: str,
        now: datetime,
    ) -> Batch | None:
        """Take a batch that cannot be worked off, and end it as FAILED. None when the name is taken."""
        unknown = {"model": "", "scale": 0}
        with self._database.writing() as session:
            batch = _arrive(session, name, kind, source, fingerprint, now, unknown)
            if batch is not None:
                _end(session, batch, BatchState.FAILED, reason, message, now)
            return batch

    def revise(
        self,
        batch_id: int,
        *,
        fingerprint: str,
        model: str,
        scale: int,
        output_format: str | None = None,
        tonight: bool = False,
        note: str = "",
        now: datetime,
    ) -> Batch:
        """Replace the wish of a batch that is ARRIVED, when it was read again for another round."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state is not BatchState.ARRIVED:
                raise Refused(f"Batch {batch.name!r} is {batch.state}: its wish is settled.")
            batch.fingerprint, batch.model, batch.scale = fingerprint, model, scale
            batch.output_format, batch.tonight, batch.note = output_format, tonight, note
            _tell(session, batch, EventKind.BATCH_REVISED, "has a new wish", now, model=model, scale=scale)
            return batch

    def start(self, batch_id: int, now: datetime) -> Batch:
        """RUNNING: its first chunk may go out. Harmless when it runs already."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state is not BatchState.RUNNING:
                _move(batch, BatchState.RUNNING)
                batch.started_at = now
                _tell(session, batch, EventKind.BATCH_STARTED, "is being enhanced", now)
            return batch

    def attach_run(self, batch_id: int, flow_run_id: str, now: datetime) -> Batch:
        """Remember which flow run looks after the batch now."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            batch.flow_run_id = flow_run_id
            said = f"is looked after by flow run {flow_run_id}"
            _tell(session, batch, EventKind.BATCH_ATTACHED, said, now, flow_run_id=flow_run_id)
            return batch

    def foresee(self, batch_id: int, now: datetime, remark: str = "") -> Batch:
        """The batch as `finish` will leave it, for a report that is published first. Changes nothing.

        Raises `Refused` while images wait.
        """
        with self._database.reading() as session:
            batch = get(session, Batch, batch_id)
            batch.state, batch.reason, message = _how_it_ends(session, batch)
        batch.message = f"{message} {remark}".strip()
        batch.finished_at = now
        return batch

    def finish(self, batch_id: int, now: datetime, remark: str = "") -> Batch:
        """End a batch of which no image waits: DONE, DONE_WITH_REJECTS, or FAILED when none was enhanced.

        `remark` is added to the message that people see. Harmless when it is finished already. Raises `Refused`
        while images wait.
        """
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state in (BatchState.DONE, BatchState.DONE_WITH_REJECTS):
                return batch
            to, reason, message = _how_it_ends(session, batch)
            suspend_work(session, batch, AttemptEnd.FINISHED, now)
            _end(session, batch, to, reason, f"{message} {remark}".strip(), now)
            return batch

    def fail(self, batch_id: int, reason: BatchEnd, message: str, now: datetime) -> Batch:
        """FAILED: what waits stays waiting for a retry. Harmless when it has failed already.

        Raises `IllegalMove` when a cancellation was asked for: that batch ends as `cancelled`.
        """
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state is not BatchState.FAILED:
                _end(session, batch, BatchState.FAILED, reason, message, now)
            return batch

    def ask_cancel(self, batch_id: int, now: datetime) -> Batch:
        """CANCELLING: no new attempt starts; who looks after it stops it. Harmless when asked twice."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state not in (BatchState.CANCELLING, BatchState.CANCELLED):
                _move(batch, BatchState.CANCELLING)
                _tell(session, batch, EventKind.BATCH_CANCEL_ASKED, "shall stop", now)
            return batch

    def cancelled(self, batch_id: int, now: datetime) -> Batch:
        """CANCELLED: open attempts end, images that wait become CANCELLED. Harmless when done twice."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state is BatchState.CANCELLED:
                return batch
            why = "It was cancelled; `spotlift retry` works off what is missing."
            _end(session, batch, BatchState.CANCELLED, BatchEnd.CANCELLED_BY_USER, why, now)
            session.execute(
                update(Image)
                .where(col(Image.batch_id) == batch_id, col(Image.state) == ImageState.WAITING)
                .values(state=ImageState.CANCELLED)
            )
            return batch

    def retry(self, batch_id: int, now: datetime) -> Batch:
        """ARRIVED again, for another round: DONE images stay, all others wait for new chunks."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            _move(batch, BatchState.ARRIVED)
            batch.round += 1
            batch.restarts, batch.reason, batch.message, batch.flow_run_id = 0, None, "", None
            batch.registered_at = batch.started_at = batch.first_result_at = batch.finished_at = None
            session.execute(
                update(Image)
                .where(col(Image.batch_id) == batch_id, col(Image.state) != ImageState.DONE)
                .values(
                    state=ImageState.WAITING,
                    chunk_id=None,
                    reason=None,
                    message="",
                    machine=None,
                    attempt=None,
                    finished_at=None,
                )
            )
            _tell(session, batch, EventKind.BATCH_RETRIED, f"starts round {batch.round}", now)
            return batch

    def restarted(self, batch_id: int, now: datetime) -> Batch:
        """Count that its flow run died and another one goes on; attempts of the dead one are fenced off."""
        with self._database.writing() as session:
            batch = get(session, Batch, batch_id)
            if batch.state not in OPEN_BATCHES:
                raise Refused(f"Batch {batch.name!r} is {batch.state}: there is nothing to go on with.")
            suspend_work(session, batch, AttemptEnd.SUPERSEDED, now)
            batch.restarts += 1
            batch.flow_run_id = None
            said = f"lost its flow run and goes on (restart {batch.restarts})"
            _tell(session, batch, EventKind.BATCH_RESTARTED, said, now, restarts=batch.restarts)
            return batch


def _how_it_ends(session: Session, batch: Batch) -> tuple[BatchState, BatchEnd | None, str]:
    counts = _count_images(session, batch.id)
    waiting, done = counts.get(ImageState.WAITING, 0), counts.get(ImageState.DONE, 0)
    rejected = counts.get(ImageState.REJECTED, 0)
    if waiting:
        raise Refused(f"Batch {batch.name!r} cannot finish: {counted(waiting, 'image')} still wait.")
    if not done:
        why = f"None of its {counted(rejected, 'image')} could be enhanced; the report says why."
        return BatchState.FAILED, BatchEnd.ALL_REJECTED, why
    if rejected:
        return (
            BatchState.DONE_WITH_REJECTS,
            None,
            f"{counted(rejected, 'image')} could not be enhanced; the report says why.",
        )
    return BatchState.DONE, None, ""


def _arrive(
    session: Session,
    name: str,
    kind: SourceKind,
    source: str,
    fingerprint: str,
    now: datetime,
    wish: dict[str, Any],
) -> Batch | None:
    if session.scalar(select(col(Batch.id)).where(col(Batch.name) == name)) is not None:
        return None
    batch = Batch(
        name=name,
        kind=kind,
        source=source,
        fingerprint=fingerprint,
        state=BatchState.ARRIVED,
        arrived_at=now,
        **wish,
    )
    session.add(batch)
    session.flush()
    _tell(session, batch, EventKind.BATCH_ARRIVED, f"arrived as a {kind.lower()}", now)
    return batch


def _end(
    session: Session,
    batch: Batch,
    to: BatchState,
    reason: BatchEnd | None,
    message: str,
    now: datetime,
) -> None:
    _move(batch, to)
    batch.reason, batch.message, batch.finished_at = reason, message, now
    stop_work(session, batch, now)
    kind = {BatchState.FAILED: EventKind.BATCH_FAILED, BatchState.CANCELLED: EventKind.BATCH_CANCELLED}
    said = f"ended as {to}" + (f": {message}" if message else "")
    _tell(session, batch, kind.get(to, EventKind.BATCH_FINISHED), said, now, reason=reason)


def _move(batch: Batch, to: BatchState) -> None:
    batch.state = check_move(f"Batch {batch.name!r}", batch.state, to)


def _tell(session: Session, batch: Batch, kind: EventKind, said: str, now: datetime, **details: Any) -> None:
    note(session, now, kind, f"Batch {batch.name!r} {said}.", batch, state=batch.state, **details)


def _count_images(session: Session, batch_id: int) -> dict[ImageState, int]:
    rows = session.execute(
        select(col(Image.state), func.count()).where(col(Image.batch_id) == batch_id).group_by(col(Image.state))
    )
    return {row[0]: row[1] for row in rows}
