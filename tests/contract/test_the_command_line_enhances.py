"""`spotlift enhance` as a user meets it: what is done is skipped, nothing stops for one image, errors are sentences."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.models import write_model
from tests.story.pictures import album, draw
from tests.waiting import eventually
from workers.catalogue import shipped

pytestmark = pytest.mark.slow
SPOTLIFT = Path(sys.executable).with_name("spotlift")
DEADLINE = 120
Spotlift = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def spotlift(tmp_path: Path) -> Spotlift:
    """Call it with a command's arguments; it runs in an empty folder, with no setting of ours."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SPOTLIFT), *map(str, arguments)],
            cwd=tmp_path,
            env=_environment(**variables),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    return run


def _environment(**variables: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTLIFT_", "PREFECT_"))}
    return {**own, "COLUMNS": "200", **variables}


def is_one_sentence(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a command failed with a sentence for people on stderr, and nothing else."""
    lines = done.stderr.strip().splitlines()
    return done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr and not done.stdout


def test_a_folder_with_a_broken_image_is_enhanced_but_for_that_one(spotlift: Spotlift, tmp_path: Path):
    source = tmp_path / "in"
    draw(source / "a.png", 40, 30, seed=1)
    draw(source / "sub" / "b.jpg", 30, 20, seed=2)
    (source / "torn.png").write_bytes((source / "a.png").read_bytes()[:700])
    (source / "notes.txt").write_text("not an image")

    first = spotlift("enhance", source, "out")
    assert first.returncode == 1
    assert "2 enhanced" in first.stdout
    assert "1 rejected" in first.stdout
    assert "torn.png  TRUNCATED" in first.stdout
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"a.png", "sub/b.jpg"}
    with Image.open(tmp_path / "out" / "sub" / "b.jpg") as image:
        assert image.size == (60, 40)

    written = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    second = spotlift("enhance", source, "out", "--json")
    told = json.loads(second.stdout)
    assert (told["done"], told["skipped"]) == (0, 2)
    assert [(reject["name"], reject["reason"]) for reject in told["rejected"]] == [("torn.png", "TRUNCATED")]
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == written

    (source / "torn.png").unlink()
    third = spotlift("enhance", source, "out", "--overwrite")
    assert third.returncode == 0
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns > written


def test_a_changed_image_is_enhanced_again(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "in" / "a.png", 40, 30, seed=1)
    assert spotlift("enhance", "in", "out").returncode == 0
    draw(tmp_path / "in" / "a.png", 20, 10, seed=2)
    assert "1 enhanced" in spotlift("enhance", "in", "out").stdout
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (40, 20)


def test_one_image_goes_to_a_folder_or_to_a_name_in_another_format(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "a.png", 40, 30, seed=1)
    assert spotlift("enhance", "a.png", "out").returncode == 0
    assert spotlift("enhance", "a.png", "larger.webp").returncode == 0
    with Image.open(tmp_path / "out" / "a.png") as one, Image.open(tmp_path / "larger.webp") as other:
        assert one.size == other.size == (80, 60)
        assert other.format == "WEBP"


def test_auto_gives_each_image_its_model_and_the_tally_tells(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "in" / "coarse.jpg", 40, 30, seed=1, quality=60)
    draw(tmp_path / "in" / "drawing.png", 40, 30, seed=2)
    told = json.loads(spotlift("enhance", "in", "out", "--model", "auto", "--scale", "2", "--json").stdout)
    has_variant = shipped().lineup("auto").for_jpeg is not None
    assert told["models"] == ({"fast": 1, "fast-jpeg": 1} if has_variant else {"fast": 2})
    assert json.loads(spotlift("enhance", "in", "again", "--json").stdout)["models"] == told["models"]
    assert (tmp_path / "again" / "coarse.jpg").read_bytes() == (tmp_path / "out" / "coarse.jpg").read_bytes()


def test_a_model_of_ones_own_enlarges_as_it_is_made_to(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "a.png", 40, 30, seed=1)
    write_model(tmp_path / "mine.keras", 3)
    assert spotlift("enhance", "a.png", "out", "--model", "mine.keras").returncode == 0
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (120, 90)
    refused = spotlift("enhance", "a.png", "elsewhere", "--model", "mine.keras", "--scale", "2")
    assert is_one_sentence(refused)
    assert "The model mine enlarges ×3 only, not ×2." in refused.stderr


def test_an_interrupted_run_goes_on_where_it_was(spotlift: Spotlift, tmp_path: Path):
    album(tmp_path / "in", 60, 320, 240)
    out = tmp_path / "out"
    command = [str(SPOTLIFT), "enhance", "in", "out"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        eventually("two results", lambda: sum(1 for _ in out.rglob("*.png")) >= 2, DEADLINE)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=DEADLINE)
    assert running.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if not path.name.startswith(".")}
    assert 2 <= len(kept) < 60
    assert not [path for path in out.rglob("*") if path.is_file() and path not in kept], (
        "something half-written is left"
    )

    told = json.loads(spotlift("enhance", "in", "out", "--json").stdout)
    assert told["skipped"] == len(kept)
    assert told["done"] == 60 - len(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_pipe_and_a_link_to_nothing_are_rejected_and_the_rest_is_enhanced(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "in" / "a.png", 40, 30, seed=1)
    os.mkfifo(tmp_path / "in" / "pipe.png")
    (tmp_path / "in" / "dangling.png").symlink_to("nothing")
    (tmp_path / "in" / "sub" / "b.png").mkdir(parents=True)
    done = spotlift("enhance", "in", "out")
    assert done.returncode == 1
    assert "1 enhanced" in done.stdout
    assert "dangling.png  MISSING" in done.stdout
    assert "pipe.png  NOT_AN_IMAGE" in done.stdout
    alone = spotlift("enhance", "in/pipe.png", "out")
    assert alone.returncode == 1
    assert "pipe.png  NOT_AN_IMAGE" in alone.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("enhance", "nowhere", "out"), "nowhere"),
        (("enhance", "a.png", "out", "--model", "imaginary"), "imaginary"),
        (("enhance", "a.png", "out", "--model", "broken.keras"), "broken.keras"),
        (("enhance", "a.png", "out", "--model", "long" * 100), "There is no model"),
        (("enhance", "a.png", "out", "--model", "~nosuchuser/x.keras"), "There is no model"),
        (("enhance", "a.png", "out", "--model", "fast", "--scale", "7"), "The model fast enlarges ×2"),
        (("enhance", "a.png", "out", "--scale", "0"), "No shipped model enlarges ×0"),
        (("enhance", "a.png", "broken.keras/out"), "choose another OUT"),
        (("enhance", "a.png", "out", "--format", "heic"), "heic"),
        (("enhance", "a.png", "a.png"), "another OUT"),
        (("enhance", "empty", "out"), "no image"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(
    spotlift: Spotlift, tmp_path: Path, arguments: tuple[str, ...], word: str
):
    draw(tmp_path / "a.png", 40, 30, seed=1)
    (tmp_path / "broken.keras").write_bytes(b"this is no model")
    (tmp_path / "empty").mkdir()
    done = spotlift(*arguments)
    assert is_one_sentence(done), done.stderr
    assert word in done.stderr


def test_the_precision_may_be_chosen(spotlift: Spotlift, tmp_path: Path):
    draw(tmp_path / "a.png", 40, 30, seed=1)
    assert spotlift("enhance", "a.png", "exact.png", "--precision", "float32").returncode == 0
    assert spotlift("enhance", "a.png", "same.png", SPOTLIFT_PRECISION="float32").returncode == 0
    assert (tmp_path / "exact.png").read_bytes() == (tmp_path / "same.png").read_bytes()
    refused = spotlift("enhance", "a.png", "not.png", "--precision", "float8")
    assert is_one_sentence(refused)
    assert "there is no precision 'float8'; there are auto, float32, bfloat16, float16" in refused.stderr
    assert not (tmp_path / "not.png").exists()
