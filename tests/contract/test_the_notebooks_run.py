"""The notebooks are run from top to bottom in a real kernel, as somebody would who has just opened them."""

from pathlib import Path

import nbformat
import papermill
import pytest

from workers import model

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_the_training_notebook_trains_a_model_that_works(tmp_path: Path) -> None:
    ran = papermill.execute_notebook(
        NOTEBOOKS / "train.ipynb",
        tmp_path / "ran.ipynb",
        parameters={"minutes": 0.1, "into": str(tmp_path / "toy")},
        cwd=NOTEBOOKS,
        progress_bar=False,
        start_timeout=120,
        execution_timeout=300,
    )
    outputs = [output for cell in ran.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert "dB against bicubic" in said
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert model.load(str(tmp_path / "toy" / "toy-x2.keras")).scale == 2


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_printed(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
