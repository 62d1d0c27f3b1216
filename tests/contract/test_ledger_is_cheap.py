"""What the ledger costs per image is nothing beside the work on the image."""

import time
from collections.abc import Callable
from datetime import datetime

from infra.records import Batch, ImageOutcome, Ledger, NewChunk, NewImage
from infra.states import AttemptEnd, BatchState

IMAGES = 2000
CHUNK = 100


def test_two_thousand_images_cost_less_than_half_a_millisecond_each(
    sqlite_url: str, arrived: Callable[..., Batch], outcome: Callable[..., ImageOutcome], noon: datetime
) -> None:
    ledger = Ledger(sqlite_url)
    ledger.migrate()
    batch = arrived(ledger)
    names = [f"{number}.png" for number in range(IMAGES)]
    images = [NewImage(name, name, bytes_in=1000, width=40, height=30) for name in names]
    chunks = [NewChunk(names[at : at + CHUNK], CHUNK * 1200) for at in range(0, IMAGES, CHUNK)]

    begun = time.process_time()  # our own share: other processes of this machine do not count
    ledger.register(batch.id, images, chunks, noon)
    registered = time.process_time()
    ledger.start(batch.id, noon)
    for chunk in ledger.chunks(batch.id):
        attempt = ledger.open_attempt(chunk.id, noon)
        ledger.record(attempt.id, [outcome(image.id) for image in ledger.missing(chunk.id)], noon)
        ledger.end_attempt(attempt.id, AttemptEnd.FINISHED, noon)
    worked = time.process_time()

    assert ledger.finish(batch.id, noon).state is BatchState.DONE
    assert registered - begun < 0.5  # seconds
    assert (worked - registered) / IMAGES < 0.5e-3
    ledger.close()
