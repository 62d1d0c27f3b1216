"""docs/ledger.md shows exactly the moves of the table, and says word for word who moves each state on, and when."""

import re
from pathlib import Path

import pytest

from flows.pool import CLOSES_WITHIN, OPENS_WITHIN
from infra.pool.certificates import LONGEST_LIFE
from infra.pool.keeper import ASK_AGAIN
from infra.pool.policy import MISSED_FOR
from infra.pool.reconcile import IN_DOUBT_FOR, ORDER_DEADLINE
from infra.settings import Settings
from infra.states import MOVES, WAYS_OUT, LifeState, MachineState

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
    told, kind = dict[tuple[str, str], str](), ""
    for row in table.splitlines()[2:]:
        first, states, how = (cell.strip() for cell in row.strip("|").split("|", 2))
        kind = first or kind
        told |= {(kind, state.strip()): how for state in states.split(",")}
    names = {f"{it.__name__.removesuffix('State')}".lower(): ways for it, ways in WAYS_OUT.items()}
    assert told == {(name, str(state)): how for name, ways in names.items() for state, how in ways.items()}


def test_the_deadlines_in_it_are_those_in_force() -> None:
    machine, life = WAYS_OUT[MachineState], WAYS_OUT[LifeState]
    said = {
        machine[MachineState.REQUESTED]: {"five minutes": ORDER_DEADLINE, "90 s": IN_DOUBT_FOR},
        machine[MachineState.RUNNING]: {"a minute": MISSED_FOR},
        machine[MachineState.STOPPING]: {"15 s": ASK_AGAIN},
        life[LifeState.OPENING]: {"a minute": OPENS_WITHIN},
        life[LifeState.OPEN]: {"seven days": LONGEST_LIFE},
        life[LifeState.CLOSING]: {"five minutes": CLOSES_WITHIN},
    }
    seconds = {"five minutes": 300, "90 s": 90, "a minute": 60, "15 s": 15, "seven days": 7 * 86_400}
    for how, deadlines in said.items():
        assert all(words in how for words in deadlines)
        assert {words: seconds[words] for words in deadlines} == {w: d.total_seconds() for w, d in deadlines.items()}
    settings = {name for ways in WAYS_OUT.values() for how in ways.values() for name in re.findall(r"`(\w+)`", how)}
    assert settings <= Settings.model_fields.keys()


def test_mermaid_can_draw_what_is_said_on_the_arrows() -> None:
    assert not [said for diagram in diagrams() for said in diagram.values() if set(said) & set(":;")]
