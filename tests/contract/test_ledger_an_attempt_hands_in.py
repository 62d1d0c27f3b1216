"""Attempts of one chunk follow each other, and only the newest one is listened to."""

from collections.abc import Callable
from datetime import datetime

import pytest

from infra.records import Batch, Fenced, IllegalMove, ImageOutcome, Ledger, Unknown
from infra.states import AttemptEnd, ChunkState, EventKind

Running = Callable[..., Batch]
Outcome = Callable[..., ImageOutcome]


def test_the_next_attempt_gets_what_the_first_left(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png", "b.png"])
    [chunk] = ledger.chunks(batch.id)
    first = ledger.open_attempt(chunk.id, noon)
    [a, b] = ledger.missing(chunk.id)
    ledger.record(first.id, [outcome(a.id)], noon)
    chunk = ledger.end_attempt(first.id, AttemptEnd.PREEMPTED, noon, machine="gpu-1")
    assert chunk.state is ChunkState.WAITING
    second = ledger.open_attempt(chunk.id, noon)
    assert second.number == 2
    assert [image.id for image in ledger.missing(chunk.id)] == [b.id]
    ledger.record(second.id, [outcome(b.id)], noon)
    assert ledger.end_attempt(second.id, AttemptEnd.FINISHED, noon).state is ChunkState.DONE
    ends = [(attempt.end, attempt.machine, attempt.images_done) for attempt in ledger.attempts(batch.id)]
    assert ends == [(AttemptEnd.PREEMPTED, "gpu-1", 1), (AttemptEnd.FINISHED, None, 1)]
    with pytest.raises(IllegalMove, match="is DONE"):
        ledger.open_attempt(chunk.id, noon)


def test_a_machine_lost_after_the_last_image_costs_nothing(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png"])
    [chunk] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    ledger.record(attempt.id, [outcome(image.id) for image in ledger.missing(chunk.id)], noon)
    assert ledger.end_attempt(attempt.id, AttemptEnd.MACHINE_LOST, noon).state is ChunkState.DONE


def test_a_superseded_attempt_is_fenced_off(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png"])
    [chunk] = ledger.chunks(batch.id)
    old = ledger.open_attempt(chunk.id, noon)
    new = ledger.open_attempt(chunk.id, noon)
    [a] = ledger.missing(chunk.id)
    with pytest.raises(Fenced, match="SUPERSEDED; its 1 outcome came too late"):
        ledger.record(old.id, [outcome(a.id)], noon)
    with pytest.raises(Fenced, match="cannot end as FINISHED"):
        ledger.end_attempt(old.id, AttemptEnd.FINISHED, noon)
    assert ledger.record(new.id, [outcome(a.id)], noon) == 1


def test_ending_twice_in_the_same_way_is_harmless(ledger: Ledger, running: Running, noon: datetime) -> None:
    [chunk] = ledger.chunks(running(ledger, ["a.png"]).id)
    attempt = ledger.open_attempt(chunk.id, noon)
    once = ledger.end_attempt(attempt.id, AttemptEnd.TIMED_OUT, noon)
    diary = ledger.events()
    assert ledger.end_attempt(attempt.id, AttemptEnd.TIMED_OUT, noon) == once
    assert ledger.events() == diary


def test_an_outcome_that_is_told_twice_counts_once(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    [chunk] = ledger.chunks(running(ledger, ["a.png"]).id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a] = ledger.missing(chunk.id)
    assert ledger.record(attempt.id, [outcome(a.id), outcome(a.id)], noon) == 1
    diary = ledger.events()
    assert ledger.record(attempt.id, [outcome(a.id)], noon) == 0
    assert ledger.events() == diary


@pytest.mark.parametrize("second", [{"sha256": "b" * 64}, {"reason": "DAMAGED"}])
def test_another_outcome_for_a_settled_image_is_told_and_not_taken(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime, second: dict[str, str]
) -> None:
    batch = running(ledger, ["a.png"])
    [chunk] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a] = ledger.missing(chunk.id)
    ledger.record(attempt.id, [outcome(a.id)], noon)
    assert ledger.record(attempt.id, [outcome(a.id, **second)], noon) == 0
    [image] = ledger.images(batch.id)
    assert image.sha256 == "a" * 64
    assert ledger.events()[-1].kind is EventKind.RESULT_DIFFERS


def test_an_attempt_speaks_for_its_own_chunk_only(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    [mine, other] = ledger.chunks(running(ledger, ["a.png"], ["b.png"]).id)
    attempt = ledger.open_attempt(mine.id, noon)
    [a], [b] = ledger.missing(mine.id), ledger.missing(other.id)
    with pytest.raises(Unknown, match=f"chunk {mine.id} "):
        ledger.record(attempt.id, [outcome(a.id), outcome(b.id)], noon)
    assert [image.id for image in ledger.missing(mine.id)] == [a.id]


def test_any_text_from_a_machine_can_be_kept(ledger: Ledger, running: Running, noon: datetime) -> None:
    batch = running(ledger, ["a.png"])
    [chunk] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a] = ledger.missing(chunk.id)
    said = "bad \0 name \udcff 🎞"
    ledger.record(attempt.id, [ImageOutcome(a.id, done=False, reason="DAMAGED", message=said)], noon)
    assert ledger.images(batch.id)[0].message == "bad  name ? 🎞"
