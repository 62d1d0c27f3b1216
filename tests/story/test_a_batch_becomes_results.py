"""The main job: a batch lies in the inbox, and its results, manifest and report appear in the outbox."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.records.tables import Batch
from infra.states import BatchEnd, BatchState
from tests.story.pictures import draw, pixels
from tests.story.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them: sub folders, several formats, transparency, notes, and a broken file."""
    folder = tmp_path_factory.mktemp("from-a-camera")
    draw(folder / "harbour.png", 120, 90, seed=1)
    draw(folder / "Day 1" / "market square.jpg", 96, 64, seed=2, quality=95)
    draw(folder / "Day 1" / "drawings" / "größe.webp", 64, 64, seed=3, lossless=True)
    alpha = np.dstack([pixels(50, 40, 4), np.tile(np.linspace(0, 255, 50).astype(np.uint8), (40, 1))])
    Image.fromarray(alpha, "RGBA").save(folder / "logo.png")
    (folder / "torn.png").write_bytes((folder / "harbour.png").read_bytes()[:2000])
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def handed_in(stack: Stack, source: Path) -> Batch:
    """The folder's batch after it has ended."""
    assert stack.spotlift("submit", source, "--name", "camera", "--wait", check=False).returncode == 1
    return stack.ended("camera")


def test_every_image_is_larger_and_has_its_old_name(stack: Stack, source: Path, handed_in: Batch):
    results = stack.results(handed_in.name)
    assert set(results) == {
        "harbour.png", "Day 1/market square.jpg", "Day 1/drawings/größe.webp", "logo.png"
    }  # fmt: skip
    for name in results:
        with Image.open(source / name) as before, Image.open(stack.outbox / handed_in.name / name) as after:
            assert after.size == (2 * before.width, 2 * before.height)
            assert after.format == before.format
            assert after.mode == before.mode


def test_a_broken_image_is_set_aside_with_a_reason_and_the_others_go_on(stack: Stack, handed_in: Batch):
    assert handed_in.state is BatchState.DONE_WITH_REJECTS
    status = json.loads(stack.spotlift("status", handed_in.name, "--json").stdout)
    assert status["counts"] == {"images": 5, "waiting": 0, "done": 4, "rejected": 1, "cancelled": 0}
    [rejected] = [image for image in status["images"] if image["state"] == "REJECTED"]
    assert rejected["name"] == "torn.png"
    assert rejected["reason"] == "TRUNCATED"
    assert "torn.png" in stack.spotlift("status", handed_in.name).stdout


def test_the_run_in_the_ui_tells_the_same_story(stack: Stack, handed_in: Batch):
    [run] = stack.ended_runs(handed_in.name)
    assert run.name == handed_in.name
    assert run.state_name == "DoneWithRejects"
    assert "1 image could not be enhanced" in (run.state.message or "" if run.state else "")
    names = [task.name for task in sorted(stack.task_runs(run), key=lambda task: task.start_time or task.created)]
    assert names[:2] == ["register", "capacity"]
    assert names[-2:] == ["outcomes", "report"]
    assert all(name.startswith("enhance chunk ") for name in names[2:-2])


def test_a_zip_of_the_same_images_gives_the_same_results(stack: Stack, source: Path, handed_in: Batch, tmp_path: Path):
    archive = tmp_path / "camera.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in source.rglob("*"):
            file.write(path, path.relative_to(source).as_posix())
    zipped = stack.submit(archive, "camera-zipped")
    assert stack.ended(zipped).state is BatchState.DONE_WITH_REJECTS
    assert stack.results(zipped) == stack.results(handed_in.name)


def test_the_results_can_be_fetched(stack: Stack, handed_in: Batch, tmp_path: Path):
    stack.spotlift("fetch", handed_in.name, tmp_path / "results")
    assert (tmp_path / "results" / "harbour.png").read_bytes() == stack.results(handed_in.name)["harbour.png"]
    assert "0 new files" in stack.spotlift("fetch", handed_in.name, tmp_path / "results").stdout


def test_the_same_name_again_becomes_another_batch(stack: Stack, source: Path, handed_in: Batch):
    said = stack.spotlift("submit", source / "logo.png", "--name", handed_in.name).stdout
    assert f"{handed_in.name}-2" in said
    assert stack.ended(f"{handed_in.name}-2").state is BatchState.DONE


def test_a_batch_in_which_no_image_can_be_enhanced_has_failed(stack: Stack, source: Path):
    hopeless = stack.submit(source / "torn.png", "hopeless")
    row = stack.ended(hopeless)
    assert row.state is BatchState.FAILED
    assert row.reason is BatchEnd.ALL_REJECTED
