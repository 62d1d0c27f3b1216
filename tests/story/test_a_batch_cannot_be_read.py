"""A batch that cannot be read ends at once as FAILED; its reason stands wherever people look, its input stays."""

import zipfile
from pathlib import Path

import pytest

from infra.states import BatchEnd, BatchState
from tests.story.pictures import draw
from tests.story.stack import Stack

pytestmark = pytest.mark.slow

BAD = {
    "wishes": (BatchEnd.BAD_WISH, "format"),
    "escapes": (BatchEnd.UNREADABLE, "../"),
    "zipped-wishes": (BatchEnd.BAD_WISH, "scale"),
    "wants-a-model": (BatchEnd.BAD_WISH, "imaginary"),
}


@pytest.fixture(scope="module")
def inputs(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them put into the inbox by hand, behind the back of `spotlift submit`, which would refuse them."""
    picture = draw(tmp_path_factory.mktemp("pictures") / "a.png", 40, 30, seed=1)
    for name, wish in (("wishes", 'format = "heic"'), ("wants-a-model", 'model = "imaginary"')):
        (stack.inbox / name).mkdir()
        (stack.inbox / name / "a.png").write_bytes(picture.read_bytes())
        (stack.inbox / name / "batch.toml").write_text(wish)
    for name, inside, wish in (("escapes", "../a.png", ""), ("zipped-wishes", "a.png", "scale = 3")):
        with zipfile.ZipFile(stack.inbox / f"{name}.zip", "w") as file:
            file.write(picture, inside)
            file.writestr("batch.toml", wish)
    return {name: next(stack.inbox.glob(f"{name}*")) for name in BAD}


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("name", BAD)
def test_the_reason_stands_in_the_ledger_in_the_status_and_in_the_ui(stack: Stack, name: str):
    reason, word = BAD[name]
    row = stack.ended(name)
    assert row.state is BatchState.FAILED
    assert row.reason is reason
    assert word in row.message
    assert row.message in " ".join(stack.spotlift("status", name).stdout.split())
    [run] = stack.ended_runs(name)
    assert run.state is not None
    assert run.state.name == "Failed"
    assert row.message in (run.state.message or "")


@pytest.mark.parametrize("name", BAD)
def test_its_input_stays_as_it_is(stack: Stack, inputs: dict[str, Path], name: str):
    stack.ended(name)
    assert inputs[name].exists()
    if inputs[name].is_dir():
        assert {path.name for path in inputs[name].iterdir()} == {"a.png", "batch.toml"}
