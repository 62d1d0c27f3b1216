"""With `auto`, each image of a chunk gets the model that fits its file, and everybody can see which."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.storage import LocalStore
from infra.storage.shelf import Shelf
from tests.models import tiers_with_variant, write_model
from tests.story.pictures import draw
from workers import chunk
from workers.catalogue import Catalogue, common_checksum, file_checksum
from workers.chunk import WrongModel, work_off
from workers.job import ChunkJob, ChunkResult, ImageJob

pytestmark = pytest.mark.slow
QUALITIES = {"camera.jpg": 97, "mail.jpg": 60, "web.jpg": 80}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return tiers_with_variant(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def job(tmp_path: Path, catalogue: Catalogue) -> ChunkJob:
    """Three JPEGs and a drawing for `auto`; the stores are folders."""
    for number, (name, quality) in enumerate(QUALITIES.items()):
        draw(tmp_path / "in" / name, 40, 32, seed=number, quality=quality)
    draw(tmp_path / "in" / "drawing.png", 40, 32, seed=9)
    (tmp_path / "in" / "torn.jpg").write_bytes((tmp_path / "in" / "mail.jpg").read_bytes()[:300])
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    shelves = {name: Shelf(LocalStore(tmp_path / name)) for name in ("in", "out", "work")}
    return ChunkJob(
        batch="batch", attempt=1, topic="news", model="auto-fast", model_name="auto-fast",
        model_checksum=checksum(catalogue, "auto-fast"), scale=2,
        images=tuple(
            ImageJob(number, name, f"batch/{name}", f"receipts/{name}.json")
            for number, name in enumerate([*QUALITIES, "drawing.png", "torn.jpg", "missing.jpg"])
        ),
        inputs=shelves["in"], outputs=shelves["out"], work=shelves["work"],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_leaves() -> Iterator[None]:
    yield
    chunk.leaving.clear()


def checksum(catalogue: Catalogue, name: str, scale: int = 2) -> str:
    return common_checksum(map(file_checksum, catalogue.lineup(name, scale).files))


def work(job: ChunkJob, catalogue: Catalogue) -> ChunkResult:
    return work_off(job, "gpu-1", lambda _: None, catalogue=catalogue)


def test_each_image_gets_its_model_and_its_receipt_says_which(job: ChunkJob, catalogue: Catalogue, tmp_path: Path):
    result = work(job, catalogue)
    models = {job.images[outcome.image_id].source: outcome.model for outcome in result.outcomes if outcome.done}
    assert models == {
        "camera.jpg": "fast",
        "mail.jpg": "fast-jpeg",
        "web.jpg": "fast-jpeg",
        "drawing.png": "fast",
    }
    for name, model in models.items():
        receipt = json.loads((tmp_path / "work" / "receipts" / f"{name}.json").read_bytes())
        assert receipt["model_checksum"] == checksum(catalogue, model)
    assert {outcome.reason for outcome in result.outcomes if not outcome.done} == {"TRUNCATED", "MISSING"}


def test_the_result_is_that_of_the_model_alone(job: ChunkJob, catalogue: Catalogue, tmp_path: Path):
    work(job, catalogue)
    mixed = {path.name: path.read_bytes() for path in (tmp_path / "out" / "batch").iterdir()}
    for name in ("fast", "fast-jpeg"):
        alone = dataclasses.replace(
            job, model=name, model_name=name, model_checksum=checksum(catalogue, name),
            images=tuple(
                dataclasses.replace(image, target=f"{name}/{image.source}", receipt=f"{name}/{image.source}")
                for image in job.images
            ),
        )  # fmt: skip
        assert {outcome.model for outcome in work(alone, catalogue).outcomes} == {name}
        same = {path.name for path in (tmp_path / "out" / name).iterdir() if path.read_bytes() == mixed[path.name]}
        assert same == ({"camera.jpg", "drawing.png"} if name == "fast" else {"mail.jpg", "web.jpg"})


def test_receipts_count_without_a_look_at_the_images(job: ChunkJob, catalogue: Catalogue, tmp_path: Path):
    first = work(job, catalogue)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    assert work(dataclasses.replace(job, attempt=2), catalogue).outcomes == first.outcomes


def test_a_machine_that_lacks_the_variant_or_has_another_is_refused(
    job: ChunkJob, catalogue: Catalogue, tmp_path: Path
):
    alone = Catalogue({key: model for key, model in catalogue.models.items() if key != ("fast-jpeg", 2)})
    with pytest.raises(WrongModel, match="same version"):
        work(job, alone)
    variant = write_model(tmp_path / "weights" / "fast-jpeg-x2.keras")
    changed = {**catalogue.models, ("fast-jpeg", 2): dataclasses.replace(catalogue.models["fast", 2], path=variant)}
    with pytest.raises(WrongModel, match="same version"):
        work(job, Catalogue(changed))


def test_a_scale_that_a_machine_cannot_do_is_told_with_what_it_can(job: ChunkJob, catalogue: Catalogue):
    with pytest.raises(WrongModel, match=r"this machine cannot .* fast enlarges ×2, ×4"):
        work(dataclasses.replace(job, scale=3), catalogue)


def test_the_same_name_is_another_model_at_another_scale(job: ChunkJob, catalogue: Catalogue):
    four = dataclasses.replace(job, scale=4, model_checksum=checksum(catalogue, "auto-fast", 4), images=job.images[:2])
    outcomes = work(four, catalogue).outcomes
    assert {(outcome.model, outcome.out_width) for outcome in outcomes} == {("fast", 160)}  # no variant at ×4
