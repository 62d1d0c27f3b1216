"""What a batch consists of: opened, surveyed, named and cut into chunks, before any machine touches it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from flows.models import checksum_of, is_somebodys_own, lineup_of, model_key
from infra import arrivals
from infra.arrivals import Arrival, ArrivalError, ArrivalReason, Survey, Wish
from infra.pool.chunks import cut
from infra.records import Ledger, NewImage
from infra.records.tables import Batch, Image
from infra.settings import Settings
from infra.states import BatchState, ImageState, SourceKind
from infra.storage import LocalStore, StorageError
from workers.catalogue import Catalogue
from workers.naming import is_image_name, output_names

PIXELS_PER_BYTE = 2
"""A guess for an image whose header tells no size; it only shapes chunks."""
LATER = 5
"""Names of images that came later are told, up to so many."""


def work_key(batch: Batch) -> str:
    """Where in the work store everything about a batch lies; another ledger's batch of the same number differs."""
    return f"{batch.id}-{batch.arrived_at:%Y%m%d%H%M%S%f}"


def folder_of(batch: Batch, settings: Settings) -> Path:
    """Where the images of a batch lie: as they arrived, or unpacked."""
    if batch.kind is SourceKind.ZIP:
        return settings.work_folder / work_key(batch) / "inputs"
    return settings.inbox_folder / batch.source


def wish_of(arrival: Arrival, settings: Settings) -> Wish:
    """What an arrival asks for. Raises ArrivalError when it can be told already that it cannot be granted."""
    arrival.check()
    find = arrivals.find_wish if arrival.kind is SourceKind.FOLDER else arrivals.find_wish_in_zip
    wish = arrivals.read_wish(*find(arrival.path), Wish(model=settings.model))
    checksum_of(lineup_of(wish, settings))
    return wish


def register(
    ledger: Ledger, settings: Settings, batch: Batch, now: datetime, catalogue: Catalogue | None = None
) -> tuple[Batch, Survey]:
    """Write down the images of a batch and its chunks. Repeatable; raises ArrivalError with what is wrong.

    In a later round, what lies in the inbox now counts: files that were added or replaced are taken in. A batch that
    is registered already stays as it is.
    """
    if batch.state is not BatchState.ARRIVED:
        return batch, _survey_again(settings, batch)
    arrival = _arrival(settings, batch)
    wish = wish_of(arrival, settings)
    lineup = lineup_of(wish, settings, batch.model, catalogue)
    folder = folder_of(batch, settings)
    if batch.kind is SourceKind.ZIP and (not folder.exists() or arrival.fingerprint != batch.fingerprint):
        arrivals.unpack(arrival.path, folder)
    survey = arrivals.survey(folder, batch.name)
    known = {image.name: image for image in ledger.images(batch.id)}
    if not known and batch.round == 1:  # in a later round what is there is its own: a report that says it was stopped
        _check_outbox(settings, batch)
    wish = replace(wish, model=lineup.name)
    batch = ledger.revise(batch.id, fingerprint=arrival.fingerprint, **vars(wish), now=now)
    images = _images(survey, known, batch.output_format)
    todo = [(image.name, _pixels(image)) for image in images if not _is_done(known.get(image.name))]
    life = ledger.current_life()
    gpus = 1 if life is None else life.details.get("machines", settings.machines) * life.details.get("gpus", 1)
    speed = ledger.speed(batch.model, batch.scale)
    chunks = cut(todo, speed, settings.chunk_seconds, settings.machines, gpus)
    checksum = checksum_of(lineup)
    if is_somebodys_own(batch.model):
        LocalStore(settings.work_folder).upload(lineup.plain.path, model_key(checksum))
    return ledger.register(batch.id, images, chunks, now, model_checksum=checksum), survey


def to_do(ledger: Ledger, settings: Settings, batch: Batch) -> int:
    """How many images a retry would work off, by what lies in the inbox now. Raises ArrivalError."""
    return len(_missing(ledger, settings, batch))


def came_later(ledger: Ledger, settings: Settings, batch: Batch) -> str:
    """A sentence about images that were put into the batch after it was registered; empty if there are none."""
    known = {image.name for image in ledger.images(batch.id)}
    try:
        later = sorted(_missing(ledger, settings, batch) - known)
    except ArrivalError:
        return ""
    if not later:
        return ""
    names = ", ".join(later[:LATER]) + (", …" if len(later) > LATER else "")
    return f"{len(later)} images came too late for this round ({names}): `spotlift retry {batch.name}` takes them in."


def _survey_again(settings: Settings, batch: Batch) -> Survey:
    """What is passed over, for the report; nothing if the inputs have gone meanwhile."""
    try:
        return arrivals.survey(folder_of(batch, settings), batch.name)
    except (ArrivalError, StorageError):
        return Survey((), ())


def _arrival(settings: Settings, batch: Batch) -> Arrival:
    arrival = arrivals.find(settings.inbox_folder, batch.source)
    if arrival is None:
        message = f"{batch.source!r} is not in the inbox any more; put it back, then `spotlift retry {batch.name}`."
        raise ArrivalError(ArrivalReason.UNREADABLE, message)
    return arrival


def _check_outbox(settings: Settings, batch: Batch) -> None:
    """A new batch must not mix its results with what is there, or replace it."""
    there = settings.outbox_folder / batch.name
    if there.is_dir() and any(there.iterdir()):
        message = f"the outbox has results called {batch.name!r} already, of another ledger: move them away, or rename."
        raise ArrivalError(ArrivalReason.DUPLICATE, message)


def _missing(ledger: Ledger, settings: Settings, batch: Batch) -> set[str]:
    """Names of images in the inbox that are not DONE."""
    arrival = _arrival(settings, batch)
    arrival.check()
    if batch.kind is SourceKind.ZIP:
        names = {name for name in arrivals.inspect_zip(arrival.path) if is_image_name(name)}
    else:
        names = {image.name for image in arrivals.survey(arrival.path, batch.name).images}
    return names - {image.name for image in ledger.images(batch.id, ImageState.DONE)}


def _images(survey: Survey, known: Mapping[str, Image], output_format: str | None) -> list[NewImage]:
    kept = {name: image.output_name for name, image in known.items()}
    outputs = output_names([image.name for image in survey.images], output_format, kept)
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
