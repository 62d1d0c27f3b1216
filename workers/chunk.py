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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from workers.blame import NO_PERMISSION, NO_PLACE, blamed_on_the_image
from workers.catalogue import SUFFIX, Catalogue, NotShipped, common_checksum, lineup_of, lineup_of_file
from workers.choice import Upscalers, load_lineup
from workers.enhance import Enhanced, enhance_file
from workers.job import ChunkJob, ChunkResult, Files, ImageJob, Outcome
from workers.model import ModelError, Upscaler
from workers.rejects import Rejected, RejectReason

log = logging.getLogger(__name__)

leaving = threading.Event()
"""Set when this machine is about to go: finish the image in hand, hand back the rest."""


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

    `tell` hears `{"begun": id}` and `{"outcome": {…}}` of each image. What a machine that is about to go has not begun
    it hands back untouched.
    """
    if leaving.is_set():
        return ChunkResult((), left=tuple(image.image_id for image in job.images))
    models = models_of(job, catalogue)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="spotlift-") as folder:
        for position, image in enumerate(job.images):
            if leaving.is_set() or not wanted():
                return ChunkResult(tuple(outcomes), left=tuple(i.image_id for i in job.images[position:]))
            tell({"begun": image.image_id})
            outcome = _noted(image, job, models) or _work_off_image(image, job, models, machine, Path(folder))
            outcomes.append(outcome)
            tell({"outcome": dataclasses.asdict(outcome)})
    return ChunkResult(tuple(outcomes))


def _work_off_image(image: ImageJob, job: ChunkJob, models: Upscalers, machine: str, folder: Path) -> Outcome:
    began = time.monotonic()
    upscaler = models.plain
    outcome = Outcome(image.image_id, done=False, machine=machine, model=job.model_name)
    result = folder / f"{image.image_id}{Path(image.target).suffix}"
    preview = folder / str(image.image_id) if image.preview else None
    try:
        source = _at_hand(job.inputs, image.source, folder)
        upscaler = models.upscaler_for(source)
        outcome = dataclasses.replace(outcome, model=_name_of(upscaler, job))
        enhanced = enhance_file(source, result, upscaler, preview=preview)
        if (first := _publish(enhanced, result, image, job, models)) is not None:
            return first
        outcome = _done(outcome, enhanced)
        _keep_preview(preview, image, job.work)
    except Rejected as rejected:
        outcome = _rejected(outcome, rejected.reason, rejected.message, began)
    except OSError:
        raise  # a full disk or an unreachable store is not the image's fault
    except Exception as error:
        log.exception("%s", image.source)
        outcome = _rejected(outcome, RejectReason.UNEXPECTED, f"it could not be enhanced: {error!r}", began)
    finally:
        for leftover in folder.iterdir():
            leftover.unlink(missing_ok=True)
    _note(outcome, image, job.work, upscaler)
    return outcome


def _rejected(outcome: Outcome, reason: RejectReason, message: str, began: float) -> Outcome:
    return dataclasses.replace(outcome, reason=reason.value, message=message, seconds=time.monotonic() - began)


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
        seconds=enhanced.seconds,
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
