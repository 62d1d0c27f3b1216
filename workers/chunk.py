"""Work off one chunk: every image is published, noted and told of at once, and none stops the others.

A chunk may be sent twice, to the same machine or to another (a preemption, a lost answer, two copies running at
the same time). So every step may be repeated: an image with a receipt is not touched again, and the first result
that has a receipt stays. A receipt counts only for the target and a model of the batch, and only while the result that
it tells of is there.
"""

import dataclasses
import json
import logging
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from workers.blame import NO_PERMISSION, NO_PLACE, blamed_on_the_image
from workers.catalogue import SUFFIX, Catalogue, NotShipped, common_checksum, lineup_of, lineup_of_file
from workers.choice import Upscalers, load_lineup
from workers.enhance import Enhanced, enhance_file, too_little_memory
from workers.job import ChunkJob, ChunkResult, Files, ImageJob, Outcome
from workers.model import ModelError, Upscaler
from workers.rejects import Rejected, RejectReason
from workers.turns import IN_HAND, Shares, Turns, Withdrawn, overlapped

log = logging.getLogger(__name__)

leaving = threading.Event()
"""Set when this machine is about to go: finish what has been at the network, hand back the rest."""


class WrongModel(Exception):
    """The model on this machine is not the one that the batch was registered with."""


def run(job: ChunkJob) -> dict[str, Any]:
    """Work off the chunk on this Dask worker; the `ChunkResult` as plain values, for the controller to check.

    Raises WrongModel or ModelError; images never raise.
    """
    from distributed import get_worker
    from distributed.worker import thread_state

    worker, key = get_worker(), thread_state.key

    def wanted() -> bool:
        """Whether anybody still waits: Dask cannot end a thread, but marks a task that was let go."""
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    sender = {"attempt": job.attempt, "machine": str(worker.name)}

    def tell(news: dict[str, Any]) -> None:
        worker.log_event(job.topic, {**sender, **news})

    return dataclasses.asdict(work_off(job, str(worker.name), tell, wanted))


def work_off(
    job: ChunkJob,
    machine: str,
    tell: Callable[[dict[str, Any]], None],
    wanted: Callable[[], bool] = lambda: True,
    catalogue: Catalogue | None = None,
) -> ChunkResult:
    """Work off the chunk on `machine`, as long as it is wanted and the machine stays; None: the shipped catalogue.

    Several images are in hand at the same time. `tell` hears `{"begun": id}` and `{"outcome": {…}}` of each, in the
    order of the chunk. What a machine that is about to go has not had at the network it hands back untouched, even if
    it was decoded ahead; if it had been told of as begun, `{"left": id}` takes that back.
    """
    if leaving.is_set():
        return ChunkResult((), left=tuple(image.image_id for image in job.images))
    models = models_of(job, catalogue)
    herald = _Herald(job, tell)
    turns = Turns(lambda: leaving.is_set() or not wanted())
    with tempfile.TemporaryDirectory(prefix="spotlift-") as folder:
        desk = _Desk(job, machine, models, Path(folder), turns)
        for image, outcome in overlapped(herald.begun(turns), desk.work_off, 1 if job.one_at_a_time else IN_HAND):
            herald.has_ended(image, outcome)
    return herald.result()


class _Herald:
    """Tells of the images in the order of the chunk, in which they need not end.

    Of those in hand, the first one of the chunk counts as begun: it is the one to be waited for.
    """

    def __init__(self, job: ChunkJob, tell: Callable[[dict[str, Any]], None]) -> None:
        self._images = job.images
        self._tell = tell
        self._waiting = deque(image.image_id for image in job.images)
        self._begun: set[int] = set()
        self._ended: dict[int, Outcome | None] = {}
        self._outcomes: list[Outcome] = []

    def begun(self, turns: Turns) -> Iterator[ImageJob]:
        """The images one after the other, each told of when it is taken; no more once they are to be handed back."""
        for image in self._images:
            if turns.no_more():
                return
            self._begun.add(image.image_id)
            self._tell_of_the_first()
            yield image

    def has_ended(self, image: ImageJob, outcome: Outcome | None) -> None:
        """`outcome` is None for an image that is handed back."""
        self._ended[image.image_id] = outcome
        while self._waiting and self._waiting[0] in self._ended:
            ended = self._ended[first := self._waiting.popleft()]
            if ended is None:
                self._tell({"left": first})
            else:
                self._outcomes.append(ended)
                self._tell({"outcome": dataclasses.asdict(ended)})
            self._tell_of_the_first()

    def result(self) -> ChunkResult:
        told = {outcome.image_id for outcome in self._outcomes}
        return ChunkResult(
            tuple(self._outcomes), left=tuple(i.image_id for i in self._images if i.image_id not in told)
        )

    def _tell_of_the_first(self) -> None:
        if self._waiting and self._waiting[0] in self._begun:
            self._begun.remove(first := self._waiting[0])
            self._tell({"begun": first})


@dataclasses.dataclass(frozen=True)
class _Desk:
    """What the images of a chunk share. Each is worked off by a thread of its own."""

    job: ChunkJob
    machine: str
    models: Upscalers
    folder: Path
    turns: Turns
    shares: Shares = dataclasses.field(default_factory=Shares)

    def work_off(self, image: ImageJob) -> Outcome | None:
        """How the image ended, now or in an earlier attempt; None if it is handed back untouched."""
        with self.shares.counted() as seconds, tempfile.TemporaryDirectory(dir=self.folder) as folder:
            try:
                return _noted(image, self.job, self.models) or self._enhanced(image, Path(folder), seconds)
            except Withdrawn:
                return None

    def _enhanced(self, image: ImageJob, folder: Path, seconds: Callable[[], float]) -> Outcome:
        job, upscaler = self.job, self.models.plain
        outcome = Outcome(image.image_id, done=False, machine=self.machine, model=job.model_name)
        result = folder / f"{image.image_id}{Path(image.target).suffix}"
        preview = folder / str(image.image_id) if image.preview else None
        try:
            source = _at_hand(job.inputs, image.source, folder)
            upscaler = self.models.upscaler_for(source)
            outcome = dataclasses.replace(outcome, model=_name_of(upscaler, job))
            enhanced = enhance_file(source, result, upscaler, preview=preview, turns=self.turns)
            if (first := _publish(enhanced, result, image, job, self.models)) is not None:
                return first
            outcome = _done(outcome, enhanced)
            _keep_preview(preview, image, job.work)
        except Rejected as rejected:
            outcome = _rejected(outcome, rejected)
        except MemoryError:
            outcome = _rejected(outcome, too_little_memory())
        except (OSError, Withdrawn):
            raise  # a full disk or an unreachable store is not the image's fault
        except Exception as error:
            log.exception("%s", image.source)
            outcome = _rejected(outcome, Rejected(RejectReason.UNEXPECTED, f"it could not be enhanced: {error!r}"))
        outcome = dataclasses.replace(outcome, seconds=seconds())
        _note(outcome, image, job.work, upscaler)
        return outcome


def _rejected(outcome: Outcome, reject: Rejected) -> Outcome:
    return dataclasses.replace(outcome, reason=reject.reason.value, message=reject.message)


def _at_hand(files: Files, key: str, folder: Path) -> Path:
    """The input as a local file, downloaded only where it cannot be read in place."""
    try:
        with blamed_on_the_image(NO_PLACE.keys() | NO_PERMISSION.keys()):
            in_place = files.local_path(key)
            if in_place is not None:
                return in_place
            copy = folder / f"input{Path(key).suffix}"
            files.download(key, copy)
            return copy
    except FileNotFoundError as missing:
        raise Rejected(
            RejectReason.MISSING, "the file was there when the batch arrived and is not any more"
        ) from missing


def _publish(enhanced: Enhanced, result: Path, image: ImageJob, job: ChunkJob, models: Upscalers) -> Outcome | None:
    """Make the result visible, or return the outcome of another copy of this chunk that has finished it first."""
    with _blamed_on_the_name(image, job.outputs):
        if job.outputs.publish(result, image.target) or job.outputs.checksum(image.target) == enhanced.sha256:
            return None
        if (first := _noted(image, job, models)) is not None and first.done:
            return first
        # Nobody vouches for what is there: it was made from an older image or by another model, or is not ours.
        job.outputs.publish(result, image.target, replace=True)
        return None


@contextmanager
def _blamed_on_the_name(image: ImageJob, outputs: Files) -> Iterator[None]:
    """Blame the image for a name that its result cannot have, but not for a place that no result can have."""
    try:
        with blamed_on_the_image(NO_PLACE.keys()):
            yield
    except Rejected as reject:
        top = PurePosixPath(image.target).parts[0]
        if isinstance(reject.__cause__, OSError) and top != image.target and outputs.checksum(top) is not None:
            raise reject.__cause__ from None  # a file has the place of the batch's folder
        raise


def _done(outcome: Outcome, enhanced: Enhanced) -> Outcome:
    return dataclasses.replace(
        outcome,
        done=True,
        width=enhanced.width,
        height=enhanced.height,
        out_width=enhanced.out_width,
        out_height=enhanced.out_height,
        bytes_in=enhanced.bytes_in,
        bytes_out=enhanced.bytes_out,
        sha256=enhanced.sha256,
        notes=enhanced.notes,
    )


def _keep_preview(preview: Path | None, image: ImageJob, work: Files) -> None:
    if preview is None or image.preview is None:
        return
    for side in ("before", "after"):
        picture = preview.with_name(f"{preview.name}.{side}.jpg")
        if picture.exists():
            work.put(f"{image.preview}.{side}.jpg", picture.read_bytes())


def _note(outcome: Outcome, image: ImageJob, work: Files, upscaler: Upscaler) -> None:
    subject = {"source": image.source, "target": image.target, "model_checksum": upscaler.checksum}
    work.put(image.receipt, json.dumps({**subject, "outcome": dataclasses.asdict(outcome)}).encode())


def _noted(image: ImageJob, job: ChunkJob, models: Upscalers) -> Outcome | None:
    """The outcome that an earlier attempt, or another copy of this one, noted; None unless it fits and still holds.

    A note on anything else says nothing of this image. Which of the models it was for only the image itself could
    tell, which may not be at hand; it was the same then as it would be now.
    """
    note = job.work.read_if_there(image.receipt)
    if note is None:
        return None
    try:
        told = json.loads(note)
        subject = told["source"], told["target"]
        checksum, fields = told["model_checksum"], told["outcome"]
        outcome = Outcome(**{**fields, "notes": tuple(fields["notes"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("receipt %s cannot be read (%s); the image is done again", image.receipt, error)
        return None
    fits = subject == (image.source, image.target) and checksum in models.checksums
    if not fits or outcome.image_id != image.image_id:
        log.warning("receipt %s is about something else; the image is done again", image.receipt)
        return None
    if outcome.done and job.outputs.checksum(image.target) != outcome.sha256:
        log.warning("the result that receipt %s tells of is not there; the image is done again", image.receipt)
        return None
    return outcome


def models_of(job: ChunkJob, catalogue: Catalogue | None = None) -> Upscalers:
    """The models for a chunk, loaded: shipped ones, or one fetched from the store by its key.

    Raises WrongModel when this machine has others than the batch was registered with, or the scale is another.
    """
    try:
        if _is_key(job.model):
            lineup = lineup_of_file(_fetched(job.model, job.work))
        else:
            lineup = lineup_of(job.model, job.scale, catalogue)
    except NotShipped as error:
        raise WrongModel(f"this machine cannot work off the batch. {error}") from error
    models = load_lineup(lineup)
    if (checksum := common_checksum(models.checksums)) != job.model_checksum:
        raise WrongModel(
            f"this machine has model {job.model!r} with checksum {checksum[:12]}, "
            f"but the batch was registered with {job.model_checksum[:12]}: machine and controller need the same version"
        )
    if (scale := models.plain.scale) != job.scale:
        raise WrongModel(f"the model {job.model_name!r} enlarges ×{scale}, but the batch wants ×{job.scale}")
    return models


def _name_of(upscaler: Upscaler, job: ChunkJob) -> str:
    """What people call the model of an image; a file that somebody brought has the name under which they know it."""
    return job.model_name if _is_key(job.model) else upscaler.name


def _is_key(model: str) -> bool:
    return model.endswith(SUFFIX)


def _fetched(key: str, work: Files) -> Path:
    in_place = work.local_path(key)
    if in_place is not None:
        return in_place
    copy = Path(tempfile.gettempdir()) / f"spotlift-model-{Path(key).name}"
    if not copy.exists():
        draft = copy.with_suffix(f".{threading.get_ident()}")
        work.download(key, draft)
        draft.replace(copy)
    if not copy.exists():
        raise ModelError(f"the model {key} is not in the store")
    return copy
