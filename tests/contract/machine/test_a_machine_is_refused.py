"""Who may not join ends at once, says why, and leaves word for the keeper."""

import json

import pytest

from tests.contract.machine.life import AUDIENCE, Life

pytestmark = pytest.mark.slow


def test_a_machine_that_the_life_does_not_expect_is_refused(life: Life):
    cloud = life.cloud("unexpected")
    (life.folder / "expected" / "unexpected").unlink()
    life.boot(cloud)
    assert life.exit_code("unexpected") == 3
    assert "is not a machine of this life" in life.log("unexpected")
    refusal = json.loads((life.folder / "refused" / "unexpected.json").read_text())
    assert refusal == {"status": 403, "error": "machine unexpected is not a machine of this life of the pool"}


def test_a_machine_whose_token_is_meant_for_another_life_is_refused(life: Life):
    life.boot(life.cloud("cousin", audience=f"{AUDIENCE}0"))
    assert life.exit_code("cousin") == 3
    assert "identity token is not valid" in life.log("cousin")


def test_a_machine_of_another_project_is_refused(life: Life):
    cloud = life.cloud("foreigner")
    cloud.claims["project_id"] = "another-project"
    life.boot(cloud)
    assert life.exit_code("foreigner") == 3
    assert "another project" in life.log("foreigner")
