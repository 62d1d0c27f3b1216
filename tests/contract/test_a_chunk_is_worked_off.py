"""What a machine does with a chunk, with real files, a real store and the model that we ship."""

import dataclasses
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.storage import LocalStore
from infra.storage.shelf import Shelf
from tests.story.pictures import draw
from workers import chunk
from workers.catalogue import shipped
from workers.chunk import WrongModel, work_off
from workers.job import ChunkJob, ChunkResult, ImageJob

pytestmark = pytest.mark.slow
CHECKSUM = hashlib.sha256(shipped().models["fast", 2].path.read_bytes()).hexdigest()


@pytest.fixture
def job(tmp_path: Path) -> ChunkJob:
    """Three small pictures in an inbox; the stores are folders."""
    for number in (1, 2, 3):
        draw(tmp_path / "in" / "sub" / f"{number}.png", 32 + number, 24, seed=number)
    images = tuple(
        ImageJob(number, f"sub/{number}.png", f"batch/sub/{number}.png", f"receipts/{number}.json")
        for number in (1, 2, 3)
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    shelves = {name: Shelf(LocalStore(tmp_path / name)) for name in ("in", "out", "work")}
    return ChunkJob(
        batch="batch", attempt=1, topic="news", model="fast", model_name="fast", model_checksum=CHECKSUM, scale=2,
        images=images, inputs=shelves["in"], outputs=shelves["out"], work=shelves["work"],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_leaves() -> Iterator[None]:
    yield
    chunk.leaving.clear()


def work(job: ChunkJob) -> tuple[ChunkResult, list[dict[str, Any]]]:
    """The result and everything that was told meanwhile."""
    told: list[dict[str, Any]] = []
    return work_off(job, "gpu-1", told.append), told


def published(tmp_path: Path) -> dict[str, tuple[bytes, int]]:
    """Every result in the outbox: its bytes and when it was written."""
    files = [path for path in sorted((tmp_path / "out" / "batch").rglob("*")) if path.is_file()]
    return {
        path.relative_to(tmp_path / "out").as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files
    }


def test_every_image_is_published_noted_and_told_of(job: ChunkJob, tmp_path: Path):
    result, told = work(job)
    assert result.left == ()
    assert [outcome.image_id for outcome in result.outcomes] == [1, 2, 3]
    for outcome in result.outcomes:
        data = published(tmp_path)[f"batch/sub/{outcome.image_id}.png"][0]
        assert outcome.done
        assert (outcome.width, outcome.height) == (32 + outcome.image_id, 24)
        assert (outcome.out_width, outcome.out_height) == (64 + 2 * outcome.image_id, 48)
        assert outcome.sha256 == hashlib.sha256(data).hexdigest()
        assert outcome.bytes_out == len(data)
        assert (outcome.machine, outcome.model) == ("gpu-1", "fast")
        noted = json.loads((tmp_path / "work" / "receipts" / f"{outcome.image_id}.json").read_bytes())
        assert noted["outcome"] == json.loads(json.dumps(dataclasses.asdict(outcome)))
        assert noted["target"] == f"batch/sub/{outcome.image_id}.png"
        assert noted["model_checksum"] == CHECKSUM
    assert [news.get("begun") or news["outcome"]["image_id"] for news in told] == [1, 1, 2, 2, 3, 3]
    with Image.open(tmp_path / "out" / "batch" / "sub" / "1.png") as image:
        assert image.size == (66, 48)


def test_a_chunk_that_is_sent_again_takes_the_receipts_and_touches_nothing(job: ChunkJob, tmp_path: Path):
    first, _ = work(job)
    before = published(tmp_path)
    (tmp_path / "in" / "sub" / "1.png").unlink()  # nobody looks at it any more
    again, told = work(dataclasses.replace(job, attempt=2))
    assert again.outcomes == first.outcomes
    assert published(tmp_path) == before
    assert len(told) == 6


def test_a_receipt_that_cannot_be_read_is_written_again(job: ChunkJob, tmp_path: Path):
    first, _ = work(job)
    (tmp_path / "work" / "receipts" / "2.json").write_text('{"image_id": 2, "do')
    again, _ = work(job)
    assert [outcome.sha256 for outcome in again.outcomes] == [outcome.sha256 for outcome in first.outcomes]
    assert json.loads((tmp_path / "work" / "receipts" / "2.json").read_text())["outcome"]["done"] is True


def test_a_receipt_about_something_else_does_not_count(job: ChunkJob, tmp_path: Path):
    work(job)
    elsewhere = tuple(dataclasses.replace(image, target=image.target.replace("batch/", "new/")) for image in job.images)
    result, _ = work(dataclasses.replace(job, images=elsewhere))
    assert [outcome.done for outcome in result.outcomes] == [True] * 3
    assert {path.name for path in (tmp_path / "out" / "new" / "sub").iterdir()} == {"1.png", "2.png", "3.png"}

    receipt = tmp_path / "work" / "receipts" / "2.json"
    note = json.loads(receipt.read_bytes())
    note["outcome"]["machine"] = "the machine of another model"
    receipt.write_text(json.dumps({**note, "model_checksum": "0" * 64}))
    result, _ = work(dataclasses.replace(job, images=elsewhere))
    assert result.outcomes[1].machine == "gpu-1"


@pytest.mark.parametrize("left", [None, b"", b"something else"])
def test_a_receipt_does_not_count_without_the_result_it_tells_of(job: ChunkJob, tmp_path: Path, left: bytes | None):
    first, _ = work(job)
    target = tmp_path / "out" / "batch" / "sub" / "2.png"
    target.unlink()
    if left is not None:
        target.write_bytes(left)
    again, _ = work(job)
    assert [outcome.sha256 for outcome in again.outcomes] == [outcome.sha256 for outcome in first.outcomes]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == first.outcomes[1].sha256
    assert again.outcomes[1].notes == ()


def test_the_first_copy_that_finishes_an_image_is_believed_by_the_others(job: ChunkJob, tmp_path: Path):
    first, _ = work(job)
    receipt, target = tmp_path / "work" / "receipts" / "2.json", tmp_path / "out" / "batch" / "sub" / "2.png"
    theirs = json.loads(receipt.read_bytes())
    other_bytes = b"the result of another kind of machine"
    theirs["outcome"] |= {"machine": "gpu-2", "sha256": hashlib.sha256(other_bytes).hexdigest()}
    receipt.unlink()
    target.unlink()

    class Finishing(Shelf):
        """The outbox, in which the other copy finishes just before this one publishes."""

        def publish(self, path: Path, key: str, *, replace: bool = False) -> bool:
            if key.endswith("2.png") and not replace:
                target.write_bytes(other_bytes)
                receipt.write_text(json.dumps(theirs))
            return super().publish(path, key, replace=replace)

    result, _ = work(dataclasses.replace(job, outputs=Finishing(LocalStore(tmp_path / "out"))))
    assert target.read_bytes() == other_bytes
    assert result.outcomes[1].machine == "gpu-2"
    assert result.outcomes[1].sha256 == hashlib.sha256(other_bytes).hexdigest()
    assert json.loads(receipt.read_bytes()) == theirs
    assert result.outcomes[2] == first.outcomes[2]


def test_the_same_result_without_a_receipt_is_taken_as_it_is(job: ChunkJob, tmp_path: Path):
    first, _ = work(job)
    before = published(tmp_path)
    (tmp_path / "work" / "receipts" / "2.json").unlink()  # the machine died before it wrote it
    again, _ = work(job)
    assert again.outcomes[1].sha256 == first.outcomes[1].sha256
    assert published(tmp_path) == before


def test_a_name_that_no_result_can_have_is_the_fault_of_that_image_only(job: ChunkJob, tmp_path: Path):
    (tmp_path / "out" / "batch" / "sub" / "2.png").mkdir(parents=True)
    long = dataclasses.replace(job.images[0], target=f"batch/{'long' * 70}.png")
    result, _ = work(dataclasses.replace(job, images=(long, *job.images[1:])))
    assert [(outcome.done, outcome.reason) for outcome in result.outcomes] == [
        (False, "NO_PLACE"), (False, "NO_PLACE"), (True, None)
    ]  # fmt: skip
    assert "too long" in str(result.outcomes[0].message)
    assert "move it away" in str(result.outcomes[1].message)


def test_a_machine_that_must_leave_hands_back_the_rest(job: ChunkJob, tmp_path: Path):
    def leave_after_the_first(news: dict[str, Any]) -> None:
        if "outcome" in news:
            chunk.leaving.set()

    result = work_off(dataclasses.replace(job, one_at_a_time=True), "gpu-1", leave_after_the_first)
    assert [outcome.image_id for outcome in result.outcomes] == [1]
    assert result.left == (2, 3)
    assert set(published(tmp_path)) == {"batch/sub/1.png"}


def test_a_chunk_that_nobody_waits_for_is_dropped(job: ChunkJob, tmp_path: Path):
    alone = dataclasses.replace(job, one_at_a_time=True)
    result = work_off(alone, "gpu-1", lambda _: None, wanted=lambda: not published(tmp_path))
    assert result.left == (2, 3)


def test_what_was_decoded_ahead_is_handed_back_untouched_and_no_longer_told_of_as_begun(job: ChunkJob, tmp_path: Path):
    class Leaving(Shelf):
        """An inbox from which the second picture comes just when the machine must go, while the first is at work."""

        def local_path(self, key: str) -> Path | None:
            if key == "sub/1.png":
                begun.wait(10)
            if key == "sub/2.png":
                chunk.leaving.set()
                begun.set()
            return super().local_path(key)

    begun = threading.Event()
    result, told = work(dataclasses.replace(job, inputs=Leaving(LocalStore(tmp_path / "in"))))
    assert (result.outcomes, result.left) == ((), (1, 2, 3))
    assert published(tmp_path) == {}
    assert told[:2] == [{"begun": 1}, {"left": 1}]
    assert "left" in told[-1]


def test_images_overlap_and_are_told_of_in_their_order(job: ChunkJob, tmp_path: Path):
    class Slow(Shelf):
        """An outbox that has not taken the first result before it has the last."""

        def publish(self, path: Path, key: str, *, replace: bool = False) -> bool:
            if key.endswith("1.png"):
                assert there.wait(10)
            published = super().publish(path, key, replace=replace)
            if key.endswith("3.png"):
                there.set()
            return published

    there = threading.Event()
    result, told = work(dataclasses.replace(job, outputs=Slow(LocalStore(tmp_path / "out"))))
    assert [outcome.image_id for outcome in result.outcomes] == [1, 2, 3]
    assert [news.get("begun") or news["outcome"]["image_id"] for news in told] == [1, 1, 2, 2, 3, 3]


def test_an_image_that_cannot_be_enhanced_does_not_stop_the_others(job: ChunkJob, tmp_path: Path):
    whole = (tmp_path / "in" / "sub" / "1.png").read_bytes()
    (tmp_path / "in" / "sub" / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in" / "sub" / "2.png").unlink()
    result, _ = work(job)
    assert [(outcome.done, outcome.reason) for outcome in result.outcomes] == [
        (False, "TRUNCATED"), (False, "MISSING"), (True, None)
    ]  # fmt: skip
    assert set(published(tmp_path)) == {"batch/sub/3.png"}
    assert all(outcome.message for outcome in result.outcomes[:2])


def test_a_full_disk_is_not_the_fault_of_an_image(job: ChunkJob, tmp_path: Path):
    (tmp_path / "out" / "batch").write_text("a file where a folder must be")
    with pytest.raises(OSError, match="batch"):
        work(job)
    assert not (tmp_path / "work" / "receipts").exists()


def test_another_model_than_the_registered_one_is_refused(job: ChunkJob):
    with pytest.raises(WrongModel, match="same version"):
        work(dataclasses.replace(job, model_checksum="0" * 64))
    with pytest.raises(WrongModel, match="×2"):
        work(dataclasses.replace(job, scale=7))


def test_before_and_after_are_kept_for_the_report_when_wished(job: ChunkJob, tmp_path: Path):
    wished = dataclasses.replace(job.images[0], preview="previews/1")
    work(dataclasses.replace(job, images=(wished, *job.images[1:])))
    with (
        Image.open(tmp_path / "work" / "previews" / "1.before.jpg") as before,
        Image.open(tmp_path / "work" / "previews" / "1.after.jpg") as after,
    ):
        assert after.size == (2 * before.width, 2 * before.height)
    assert len(list((tmp_path / "work" / "previews").iterdir())) == 2
