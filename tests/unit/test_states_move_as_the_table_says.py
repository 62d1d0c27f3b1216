"""The table of legal moves is complete, and everything open can reach an end."""

import pytest

from infra.states import (
    MOVES,
    OPEN_BATCHES,
    RETRYABLE_BATCHES,
    BatchState,
    IllegalMove,
    MachineState,
    check_move,
    may_move,
)

EDGES = [(start, to) for table in MOVES.values() for start, ways in table.items() for to in ways]


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_every_state_has_its_place_in_the_table(kind: type) -> None:
    assert list(MOVES[kind]) == list(kind) or set(MOVES[kind]) == set(kind)


@pytest.mark.parametrize(("start", "to"), EDGES, ids=lambda state: str(state))
def test_every_move_stays_in_its_kind_and_says_when_it_happens(start: BatchState, to: BatchState) -> None:
    assert type(start) is type(to)
    assert start is not to
    assert MOVES[type(start)][start][to]


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_every_state_is_reached_from_the_first(kind: type) -> None:
    reached = {next(iter(kind))}
    while new := {to for start in reached for to in MOVES[kind][start]} - reached:
        reached |= new
    assert reached == set(kind)


def test_a_batch_is_open_ended_or_both_never() -> None:
    ends = set(BatchState) - OPEN_BATCHES
    assert ends == RETRYABLE_BATCHES
    assert {start for start in ends if may_move(start, BatchState.ARRIVED)} == RETRYABLE_BATCHES


def test_any_machine_may_be_gone_from_the_listing_and_stays_gone() -> None:
    living = set(MachineState) - {MachineState.TERMINATED}
    assert all(may_move(state, MachineState.TERMINATED) for state in living)
    assert not MOVES[MachineState][MachineState.TERMINATED]


def test_an_illegal_move_is_explained() -> None:
    assert check_move("Batch 'a'", BatchState.RUNNING, BatchState.DONE) is BatchState.DONE
    with pytest.raises(IllegalMove) as refusal:
        check_move("Batch 'a'", BatchState.DONE, BatchState.RUNNING)
    said = "Batch 'a' is DONE and cannot become RUNNING. From DONE it may go to ARRIVED."
    assert str(refusal.value) == said
