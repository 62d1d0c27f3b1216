"""`submit`, `retry` and `down` keep their word: what a user asked for is done, or refused in a sentence."""

import socket
import sys
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.processes import Processes
from infra.records import ImageOutcome, Ledger, NewChunk, NewImage
from infra.states import BatchState, SourceKind
from tests.contract.shell import Shell, sentence
from tests.models import write_model
from tests.story.pictures import draw
from tests.story.stack import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.slow
WISH = 'output_format = "webp"\nnote = "for Anna"'
DEAF_SERVER = """
import http.server, sys
class Deaf(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"nothing that one understands")
    do_GET = do_POST = answer
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Deaf).serve_forever()
"""


@pytest.fixture
def spotlift(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def ledger(spotlift: Shell) -> Ledger:
    return spotlift.new_ledger()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a wish of its own."""
    draw(tmp_path / "photos" / "a.png", 8, 8, seed=1)
    (tmp_path / "photos" / "batch.toml").write_text(WISH)
    return tmp_path / "photos"


@pytest.mark.usefixtures("ledger")
def test_options_are_laid_over_the_wish_of_a_folder(spotlift: Shell, photos: Path):
    assert spotlift("submit", photos, "--note", "for Bert").returncode == 0
    wish = tomllib.loads((spotlift.state / "inbox" / "photos" / "batch.toml").read_text())
    assert (wish["output_format"], wish["note"]) == ("webp", "for Bert")
    assert spotlift("submit", photos, "--format", "same", "--name", "b").returncode == 0
    wish = tomllib.loads((spotlift.state / "inbox" / "b" / "batch.toml").read_text())
    assert (wish["output_format"], wish["note"]) == ("same", "for Anna")


@pytest.mark.usefixtures("ledger")
def test_options_are_laid_over_the_wish_of_a_zip(spotlift: Shell, photos: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "drawings.zip", "w") as archive:
        for file in photos.iterdir():
            archive.write(file, f"drawings/{file.name}")
    done = spotlift("submit", "drawings.zip", "--tonight")
    assert "no night run yet, so it is worked off at once" in done.stdout
    wish = tomllib.loads((spotlift.state / "inbox" / "drawings" / "batch.toml").read_text())
    assert (wish["output_format"], wish["note"], wish["tonight"]) == ("webp", "for Anna", True)


@pytest.mark.usefixtures("ledger", "photos")
def test_an_option_that_would_be_ignored_is_refused_before_anything_is_handed_in(spotlift: Shell):
    assert "--wait" in sentence(spotlift("submit", "photos", "--fetch", "here"))
    assert "scale = 0" in sentence(spotlift("submit", "photos", "--scale", "0"))
    assert "The model fast enlarges ×2" in sentence(spotlift("submit", "photos", "--model", "fast", "--scale", "7"))
    assert "There is no model 'imaginary'" in sentence(spotlift("submit", "photos", "--model", "imaginary"))
    assert "no such home folder" in sentence(spotlift("submit", "~nosuch/photos"))
    assert not (spotlift.state / "inbox").exists()


@pytest.mark.usefixtures("ledger", "photos")
def test_a_model_is_handed_in_as_it_was_named(spotlift: Shell, tmp_path: Path):
    write_model(tmp_path / "mine.keras")
    (tmp_path / "auto").mkdir()  # a name of ours is never a path
    for name, model in (("one", "auto"), ("two", "fast"), ("three", "mine.keras")):
        assert spotlift("submit", "photos", "--name", name, "--model", model).returncode == 0
    wishes = [
        tomllib.loads((spotlift.state / "inbox" / name / "batch.toml").read_text()) for name in ("one", "two", "three")
    ]
    assert [wish["model"] for wish in wishes] == ["auto", "fast", str(tmp_path / "mine.keras")]


@pytest.mark.usefixtures("ledger", "photos")
def test_results_of_an_earlier_ledger_keep_their_name(spotlift: Shell):
    (spotlift.state / "outbox" / "photos").mkdir(parents=True)
    assert "photos-2 is in the inbox (the name photos is taken)" in spotlift("submit", "photos").stdout


def test_a_batch_that_is_done_is_retried_only_for_what_was_added(spotlift: Shell, ledger: Ledger):
    inbox, now = spotlift.state / "inbox", datetime.now(UTC)
    draw(inbox / "holiday" / "a.png", 8, 8, seed=1)
    source = {"kind": SourceKind.FOLDER, "source": "holiday", "fingerprint": "1", "model": "fast", "scale": 2}
    batch = ledger.take("holiday", **source, now=now)
    assert batch is not None
    size = (inbox / "holiday" / "a.png").stat().st_size
    ledger.register(batch.id, [NewImage("a.png", "a.png", size, 8, 8)], [NewChunk(["a.png"], 64)], now)
    ledger.start(batch.id, now)
    (chunk,) = ledger.chunks(batch.id)
    (image,) = ledger.missing(chunk.id)
    done = ImageOutcome(
        image.id, done=True, width=8, height=8, out_width=16, out_height=16, bytes_in=size, bytes_out=size,
        sha256="a" * 64, seconds=0.1, model="fast", machine="m",
    )  # fmt: skip
    ledger.record(ledger.open_attempt(chunk.id, now).id, [done], now)
    assert ledger.finish(batch.id, now).state is BatchState.DONE
    assert "nothing of it is missing" in sentence(spotlift("retry", "holiday"))
    assert ledger.batch("holiday").state is BatchState.DONE
    draw(inbox / "holiday" / "b.png", 8, 8, seed=2)
    assert "holiday is in round 2" in spotlift("retry", "holiday").stdout
    (inbox / "holiday").rename(inbox / ".elsewhere")
    assert "goes on by itself" in sentence(spotlift("retry", "holiday"))


@pytest.mark.usefixtures("ledger")
def test_down_ends_the_server_also_when_it_talks_nonsense(spotlift: Shell):
    port = free_port()
    processes = Processes(spotlift.state / "run", spotlift.state / "logs", mark=str(spotlift.state.resolve()))
    command = [sys.executable, "-c", DEAF_SERVER, str(port)]
    server = processes.start("prefect-server", command, {}, {"host": "127.0.0.1", "port": str(port)})
    try:
        eventually("the server listens", lambda: _listens(port))
        spotlift("down")
        assert not server.alive()
    finally:
        processes.stop(["prefect-server"])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
