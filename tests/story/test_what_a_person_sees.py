"""A real browser on the real pages: the runs in the Prefect UI, and the report of a batch."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.story.pictures import draw
from tests.story.stack import Stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
]

OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")


@pytest.fixture(scope="module")
def batch(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A batch that has ended, with one reject."""
    folder = tmp_path_factory.mktemp("seen")
    draw(folder / "boats.png", 120, 80, seed=7)
    (folder / "torn.png").write_bytes((folder / "boats.png").read_bytes()[:300])
    name = stack.submit(folder, "seen-by-people")
    stack.ended(name)
    stack.eventually("the report is there", (stack.outbox / name / "report.html").exists)
    return name


def page(address: str, profile: Path) -> str:
    """The page's document as it stands after its scripts have run for some seconds."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *OFFLINE]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=15000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_runs_view_names_the_batch(stack: Stack, batch: str, tmp_path: Path):
    seen = page(f"http://127.0.0.1:{stack.port}/runs", tmp_path)
    assert batch in seen
    assert "process-batch" in seen


def test_the_page_of_a_run_says_how_the_batch_ended(stack: Stack, batch: str, tmp_path: Path):
    (run,) = stack.runs(batch)
    seen = page(f"http://127.0.0.1:{stack.port}/runs/flow-run/{run.id}", tmp_path)
    assert batch in seen
    assert "DoneWithRejects" in seen


def test_the_report_shows_the_result_and_what_was_set_aside(stack: Stack, batch: str, tmp_path: Path):
    seen = page((stack.outbox / batch / "report.html").as_uri(), tmp_path)
    assert "boats.png" in seen
    assert "torn.png" in seen
    assert "is cut off" in seen
    assert seen.count("data:image/jpeg") >= 2
