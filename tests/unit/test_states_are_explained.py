"""The diagrams in docs/ledger.md show exactly the moves of the table."""

import re
from pathlib import Path

import pytest

from infra.states import MOVES, WAYS_OUT

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def diagrams() -> list[dict[tuple[str, str], str]]:
    """For each state diagram of the page: what it says on each arrow."""
    blocks = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    arrow = re.compile(r"^ +(\w+) --> (\w+): (.+)$", re.MULTILINE)
    return [{(start, to): said for start, to, said in arrow.findall(block)} for block in blocks]


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_a_diagram_shows_the_moves_of_the_table(kind: type) -> None:
    moves = {(str(start), str(to)): said for start, ways in MOVES[kind].items() for to, said in ways.items()}
    assert moves in diagrams()


def test_there_is_no_other_diagram() -> None:
    assert len(diagrams()) == len(MOVES)


def test_the_page_tells_for_every_state_that_is_not_final_who_moves_it_on() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| of a | state |")[2].partition("\n\n")[0]
    told, kind = set[tuple[str, str]](), ""
    for row in table.splitlines()[2:]:
        first, states, how = (cell.strip() for cell in row.strip("|").split("|", 2))
        kind = first or kind
        told |= {(kind, state.strip()) for state in states.split(",")}
        assert len(how) > 10
    names = {f"{it.__name__.removesuffix('State')}".lower(): ways for it, ways in WAYS_OUT.items()}
    assert told == {(name, str(state)) for name, ways in names.items() for state in ways}


def test_mermaid_can_draw_what_is_said_on_the_arrows() -> None:
    assert not [said for diagram in diagrams() for said in diagram.values() if set(said) & set(":;")]
