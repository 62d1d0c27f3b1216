"""What a batch consists of: opened, surveyed, named and cut into chunks, before any machine touches it."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from infra import arrivals
from infra.arrivals import ArrivalError, ArrivalReason, Survey, WishError
from infra.pool.chunks import cut
from infra.records import Ledger, NewImage
from infra.records.tables import Batch, Image
from infra.settings import Settings
from infra.states import BatchState, ImageState, SourceKind
from infra.storage import LocalStore
from workers.model import shipped
from workers.naming import output_names

PIXELS_PER_BYTE = 2
"""A guess for an image whose header tells no size; it only shapes chunks."""


def folder_of(batch: Batch, settings: Settings) -> Path:
    """Where the images of a batch lie: as they arrived, or unpacked."""
    if batch.kind is SourceKind.ZIP:
        return settings.work_folder / str(batch.id) / "inputs"
    return settings.inbox_folder / batch.source


def register(ledger: Ledger, settings: Settings, batch: Batch, now: datetime) -> tuple[Batch, Survey]:
    """Write down the images of a batch and its chunks. Repeatable; raises ArrivalError with what is wrong.

    In a later round, what lies in the inbox now counts: files that were added or replaced are taken in.
    """
    folder = folder_of(batch, settings)
    if batch.kind is SourceKind.ZIP and not folder.exists():
        arrivals.unpack(settings.inbox_folder / batch.source, folder)
    if not folder.exists():
        message = f"{batch.source!r} is not in the inbox any more; put it back, then `spotlift retry {batch.name}`"
        raise ArrivalError(ArrivalReason.UNREADABLE, message)
    survey = arrivals.survey(folder, batch.name)
    wish = arrivals.read_wish(*arrivals.find_wish(folder, batch.name), arrivals.Wish(model=settings.model))
    if batch.state is BatchState.ARRIVED:
        batch = ledger.revise(batch.id, fingerprint=batch.fingerprint, **vars(wish), now=now)
    known = {image.name: image for image in ledger.images(batch.id)}
    images = _images(survey, known, batch.output_format)
    todo = [(image.name, _pixels(image)) for image in images if not _is_done(known.get(image.name))]
    chunks = cut(todo, ledger.speed(batch.model), settings.chunk_seconds, settings.machines)
    checksum = model_checksum(batch.model, batch.scale)
    if batch.model not in shipped():
        work = LocalStore(settings.work_folder)
        work.upload(Path(batch.model).expanduser(), model_key(checksum))
    return ledger.register(batch.id, images, chunks, now, model_checksum=checksum), survey


def model_checksum(model: str, scale: int) -> str:
    """The sha256 of the model file. Raises WishError when there is no such model, or none of that scale."""
    known = shipped()
    path = known.get(model, Path(model).expanduser())
    if model not in known and path.suffix != ".keras":
        raise WishError(f"model = {model!r} does not exist: use {' or '.join(known)}, or the path of a .keras file")
    if not path.is_file():
        raise WishError(f"model = {model!r}: there is no such file")
    if model in known and scale != 2:
        raise WishError(f"model {model!r} enlarges ×2 only, and the batch wants scale = {scale}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_key(checksum: str) -> str:
    """Where a model that is not shipped lies in the work store, for the machines to fetch."""
    return f"models/{checksum}.keras"


def _images(survey: Survey, known: Mapping[str, Image], output_format: str | None) -> list[NewImage]:
    names = [image.name for image in survey.images]
    outputs = output_names(names, output_format)
    images = [
        NewImage(image.name, outputs[image.name], image.bytes, image.width, image.height) for image in survey.images
    ]
    # An image of an earlier round that has gone stays in the books, and its machine will say that it is missing.
    gone = [image for name, image in known.items() if name not in outputs and not _is_done(image)]
    return images + [NewImage(i.name, i.output_name, i.bytes_in, i.width, i.height) for i in gone]


def _is_done(image: Image | None) -> bool:
    return image is not None and image.state is ImageState.DONE


def _pixels(image: NewImage) -> int:
    return image.width * image.height if image.width and image.height else image.bytes_in * PIXELS_PER_BYTE
