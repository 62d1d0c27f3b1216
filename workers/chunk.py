"""Work off one chunk: every image is published, noted and told of at once, and none stops the others.

A chunk may be sent twice, to the same machine or to another (a preemption, a lost answer, two copies running at
the same time). So every step may be repeated: an image with a receipt is not touched again, and of two copies that
publish the same result the first stays.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.enhance import Enhanced, enhance_file
from workers.job import ChunkJob, ChunkResult, Files, ImageJob, Outcome
from workers.model import ModelError, Upscaler, load, shipped
from workers.rejects import Rejected, RejectReason

log = logging.getLogger(__name__)

leaving = threading.Event()
"""Set when this machine is about to go: finish the image in hand, hand back the rest."""


class WrongModel(Exception):
    """The model on this machine is not the one that the batch was registered with."""


def run(job: ChunkJob) -> ChunkResult:
    """Work off the chunk on this Dask worker. Raises WrongModel or ModelError; images never raise."""
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

    return work_off(job, str(worker.name), tell, wanted)


def work_off(
    job: ChunkJob, machine: str, tell: Callable[[dict[str, Any]], None], wanted: Callable[[], bool] = lambda: True
) -> ChunkResult:
    """Work off the chunk on `machine`, as long as it is wanted and the machine stays.

    `tell` hears `{"begun": id}` and `{"outcome": {…}}` of each image.
    """
    upscaler = model_of(job.model, job.model_checksum, job.work)
    if upscaler.scale != job.scale:
        raise WrongModel(f"the model {job.model_name!r} enlarges ×{upscaler.scale}, but the batch wants ×{job.scale}")
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="spotlift-") as folder:
        for position, image in enumerate(job.images):
            if leaving.is_set() or not wanted():
                return ChunkResult(tuple(outcomes), left=tuple(i.image_id for i in job.images[position:]))
            tell({"begun": image.image_id})
            outcome = _noted(image, job.work) or _work_off_image(image, job, upscaler, machine, Path(folder))
            outcomes.append(outcome)
            tell({"outcome": dataclasses.asdict(outcome)})
    return ChunkResult(tuple(outcomes))


def _work_off_image(image: ImageJob, job: ChunkJob, upscaler: Upscaler, machine: str, folder: Path) -> Outcome:
    began = time.monotonic()
    outcome = Outcome(image.image_id, done=False, machine=machine, model=job.model_name)
    result = folder / f"{image.image_id}{Path(image.target).suffix}"
    preview = folder / str(image.image_id) if image.preview else None
    try:
        source = _at_hand(job.inputs, image.source, folder)
        enhanced = enhance_file(source, result, upscaler, preview=preview)
        outcome = _publish(enhanced, result, image, job, outcome)
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
    job.work.put(image.receipt, json.dumps(dataclasses.asdict(outcome)).encode())
    return outcome


def _rejected(outcome: Outcome, reason: RejectReason, message: str, began: float) -> Outcome:
    return dataclasses.replace(outcome, reason=reason.value, message=message, seconds=time.monotonic() - began)


def _at_hand(files: Files, key: str, folder: Path) -> Path:
    """The input as a local file, downloaded only where it cannot be read in place."""
    try:
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


def _publish(enhanced: Enhanced, result: Path, image: ImageJob, job: ChunkJob, outcome: Outcome) -> Outcome:
    notes, sha256, size = list(enhanced.notes), enhanced.sha256, enhanced.bytes_out
    if not job.outputs.publish(result, image.target):
        # Another copy of this chunk was quicker, or died before its receipt: what people may have seen stays.
        there = job.outputs.read_if_there(image.target) or b""
        sha256, size = hashlib.sha256(there).hexdigest(), len(there)
        if sha256 != enhanced.sha256:
            notes.append("published by an earlier attempt; this attempt's result differed and was dropped")
    return dataclasses.replace(
        outcome,
        done=True,
        width=enhanced.width,
        height=enhanced.height,
        out_width=enhanced.out_width,
        out_height=enhanced.out_height,
        bytes_in=enhanced.bytes_in,
        bytes_out=size,
        sha256=sha256,
        seconds=enhanced.seconds,
        notes=tuple(notes),
    )


def _keep_preview(preview: Path | None, image: ImageJob, work: Files) -> None:
    if preview is None or image.preview is None:
        return
    for side in ("before", "after"):
        picture = preview.with_name(f"{preview.name}.{side}.jpg")
        if picture.exists():
            work.put(f"{image.preview}.{side}.jpg", picture.read_bytes())


def _noted(image: ImageJob, work: Files) -> Outcome | None:
    """The outcome that an earlier attempt noted, if it is legible."""
    note = work.read_if_there(image.receipt)
    if note is None:
        return None
    try:
        fields = json.loads(note)
        return Outcome(**{**fields, "notes": tuple(fields["notes"])})
    except (ValueError, TypeError, KeyError) as error:
        log.warning("receipt %s cannot be read (%s); the image is done again", image.receipt, error)
        return None


@functools.lru_cache(maxsize=2)
def _loaded(path: str) -> Upscaler:
    return load(path)


def model_of(model: str, checksum: str, work: Files | None = None) -> Upscaler:
    """The model, loaded once per process; from the shipped ones, or fetched from the store by its key."""
    upscaler = _loaded(model if model in shipped() or work is None else str(_fetched(model, work)))
    if checksum and upscaler.checksum != checksum:
        raise WrongModel(
            f"this machine has model {model!r} with checksum {upscaler.checksum[:12]}, "
            f"but the batch was registered with {checksum[:12]}: machine and controller need the same version"
        )
    return upscaler


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
