"""The model is loaded and has run before a machine joins, and nobody waits for that longer than he must."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from infra.pool import dispatch
from infra.storage import LocalStore
from infra.storage.shelf import Shelf
from tests.contract.machine.life import Life
from tests.story.pictures import draw
from tests.waiting import eventually
from workers import chunk
from workers.catalogue import shipped
from workers.job import ChunkJob, ImageJob

pytestmark = pytest.mark.slow


def test_a_machine_joins_warm_and_works_off_a_chunk(new_life: Life, tmp_path: Path):
    new_life.start_scheduler()
    new_life.start_registrar()
    new_life.boot(new_life.cloud("warm", model="fast", threads="1"))
    client = new_life.client()
    eventually("it joins", lambda: dispatch.machines_of(client) == {"warm"})
    log = new_life.log("warm")
    assert log.index("certified") < log.index("has fast loaded")  # the one during the other
    result = client.submit(chunk.run, _job(tmp_path), pure=False).result(timeout=60)
    [outcome] = result["outcomes"]
    assert (outcome["image_id"], outcome["done"], outcome["machine"]) == (1, True, "warm")
    assert (tmp_path / "out" / "batch" / "1.png").exists()


def test_a_chunk_that_comes_to_a_leaving_machine_is_handed_back_untouched(tmp_path: Path):
    job = dataclasses.replace(_job(tmp_path), model="no-such-model")
    chunk.leaving.set()
    try:
        result = chunk.work_off(job, "leaving", lambda _: None)
    finally:
        chunk.leaving.clear()
    assert (result.outcomes, result.left) == ((), (1,))


def _job(folder: Path) -> ChunkJob:
    draw(folder / "in" / "1.png", 32, 24, seed=1)
    for name in ("out", "work"):
        (folder / name).mkdir()
    shelves = {name: Shelf(LocalStore(folder / name)) for name in ("in", "out", "work")}
    return ChunkJob(
        batch="batch", attempt=1, topic="news", model="fast", model_name="fast",
        model_checksum=hashlib.sha256(shipped().models["fast", 2].path.read_bytes()).hexdigest(), scale=2,
        images=(ImageJob(1, "1.png", "batch/1.png", "receipts/1.json"),),
        inputs=shelves["in"], outputs=shelves["out"], work=shelves["work"],
    )  # fmt: skip
