"""A batch arrives, is registered, runs, and ends in the state that its images deserve."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy.exc import StatementError

from infra.records import (
    Batch,
    BatchStopped,
    Fenced,
    IllegalMove,
    ImageOutcome,
    Ledger,
    NewChunk,
    NewImage,
    Refused,
    Unknown,
)
from infra.states import AttemptEnd, BatchEnd, BatchState, ChunkState, EventKind, ImageState, SourceKind

Running = Callable[..., Batch]
Outcome = Callable[..., ImageOutcome]


def work_off(ledger: Ledger, batch: Batch, now: datetime, outcome: Outcome, rejects: set[str] = frozenset()) -> None:
    for chunk in ledger.chunks(batch.id, open_only=True):
        attempt = ledger.open_attempt(chunk.id, now)
        outcomes = [
            outcome(image.id, reason="DAMAGED" if image.name in rejects else None) for image in ledger.missing(chunk.id)
        ]
        ledger.record(attempt.id, outcomes, now)
        ledger.end_attempt(attempt.id, AttemptEnd.FINISHED, now)


def test_a_batch_is_taken_once(ledger: Ledger, noon: datetime) -> None:
    wish = {"kind": SourceKind.ZIP, "source": "x.zip", "fingerprint": "1", "model": "fast", "scale": 2}
    first = ledger.take("x", **wish, note="for Anna", tonight=True, output_format="PNG", now=noon)
    assert ledger.take("x", **wish, now=noon) is None
    assert first is not None
    assert first == ledger.batch("x") == ledger.batch(first.id)
    assert (first.state, first.round, first.tonight, first.note) == (BatchState.ARRIVED, 1, True, "for Anna")
    assert [event.kind for event in ledger.events()] == [EventKind.BATCH_ARRIVED]


def test_what_cannot_be_read_ends_as_failed_with_its_reason(ledger: Ledger, noon: datetime) -> None:
    source = {"kind": SourceKind.ZIP, "source": "x.zip", "fingerprint": "1"}
    told = "x.zip is encrypted: give it without a password."
    batch = ledger.refuse("x", **source, reason=BatchEnd.UNREADABLE, message=told, now=noon)
    assert batch is not None
    assert (batch.state, batch.reason, batch.message) == (BatchState.FAILED, BatchEnd.UNREADABLE, told)
    assert batch.finished_at == noon
    assert ledger.refuse("x", **source, reason=BatchEnd.EMPTY, message="", now=noon) is None
    assert told in ledger.events()[-1].message
    assert ledger.batches(open_only=True) == []


def test_times_come_back_aware_and_in_utc(ledger: Ledger, arrived: Running, noon: datetime) -> None:
    in_delhi = noon.astimezone(timezone(timedelta(hours=5, minutes=30)))
    arrived(ledger, now=in_delhi)
    moment = ledger.batch("holiday").arrived_at
    assert moment == noon
    assert moment.utcoffset() == timedelta(0)
    with pytest.raises(StatementError, match="has no time zone"):
        arrived(ledger, "other", now=noon.replace(tzinfo=None))
    assert ledger.find_batch("other") is None


def test_a_batch_with_all_results_is_done(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png", "b/c.png"], ["d.png"])
    with pytest.raises(Refused, match="3 images still wait"):
        ledger.finish(batch.id, noon)
    later = noon + timedelta(seconds=10)
    work_off(ledger, batch, later, outcome)
    batch = ledger.finish(batch.id, later)
    assert (batch.state, batch.reason, batch.first_result_at) == (BatchState.DONE, None, later)
    assert ledger.finish(batch.id, later) == batch
    [first, *_] = ledger.images(batch.id)
    assert (first.name, first.state, first.sha256, first.out_width) == (
        "a.png",
        ImageState.DONE,
        "a" * 64,
        80,
    )
    assert (first.attempt, first.machine, first.notes) == (1, "gpu-1", ["the profile was kept"])
    assert {chunk.state for chunk in ledger.chunks(batch.id)} == {ChunkState.DONE}


def test_rejected_images_keep_the_batch_going(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png", "b.png"])
    work_off(ledger, batch, noon, outcome, rejects={"b.png"})
    assert ledger.finish(batch.id, noon).state is BatchState.DONE_WITH_REJECTS
    [rejected] = ledger.images(batch.id, ImageState.REJECTED)
    assert (rejected.name, rejected.reason, rejected.message) == ("b.png", "DAMAGED", "It ends too early.")
    assert "b.png was rejected (DAMAGED)" in [e.message for e in ledger.events(batch_id=batch.id)][-3]


def test_a_batch_of_rejects_only_has_failed(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png"])
    work_off(ledger, batch, noon, outcome, rejects={"a.png"})
    batch = ledger.finish(batch.id, noon)
    assert (batch.state, batch.reason) == (BatchState.FAILED, BatchEnd.ALL_REJECTED)


def test_an_image_can_be_rejected_before_it_is_tried(ledger: Ledger, arrived: Running, noon: datetime) -> None:
    batch = arrived(ledger)
    images = [NewImage("a.png", "a.png", 9), NewImage("b", "b", 9, reason="LINK", message="A link.")]
    ledger.register(batch.id, images, [NewChunk(["a.png"], 0)], noon)
    assert [image.state for image in ledger.images(batch.id)] == [ImageState.WAITING, ImageState.REJECTED]


@pytest.mark.parametrize(
    ("images", "chunks", "complaint"),
    [
        ([], [], "it has no image"),
        (["a"], [], "in no chunk: a"),
        (["a"], [["a"], ["a"]], "in two chunks: a"),
        (["a"], [["a", "b"]], "not to be enhanced: b"),
        (["a", "a"], [["a"]], "listed twice: a"),
    ],
)
def test_a_plan_that_would_lose_an_image_is_refused(
    ledger: Ledger,
    arrived: Running,
    noon: datetime,
    images: list[str],
    chunks: list[list[str]],
    complaint: str,
) -> None:
    batch = arrived(ledger)
    plan = [NewImage(name, f"out/{name}", 1) for name in images]
    with pytest.raises(Refused, match=complaint):
        ledger.register(batch.id, plan, [NewChunk(names, 0) for names in chunks], noon)
    assert ledger.batch(batch.id).state is BatchState.ARRIVED


def test_two_results_cannot_have_one_name(ledger: Ledger, arrived: Running, noon: datetime) -> None:
    batch = arrived(ledger)
    images = [NewImage("a.gif", "a.png", 1), NewImage("a.png", "a.png", 1)]
    with pytest.raises(Refused, match=r"output names of two images: a\.png"):
        ledger.register(batch.id, images, [NewChunk(["a.gif", "a.png"], 0)], noon)


def test_a_repeated_step_is_harmless(ledger: Ledger, running: Running, noon: datetime) -> None:
    batch = running(ledger, ["a.png"])
    before = ledger.events()
    ledger.register(batch.id, [NewImage("z.png", "z.png", 1)], [NewChunk(["z.png"], 0)], noon)
    ledger.start(batch.id, noon)
    assert ledger.events() == before
    assert [image.name for image in ledger.images(batch.id)] == ["a.png"]


def test_an_illegal_move_says_what_would_be_legal(ledger: Ledger, arrived: Running, noon: datetime) -> None:
    batch = arrived(ledger)
    with pytest.raises(IllegalMove, match=r"'holiday' is ARRIVED and cannot become RUNNING\..*REGISTERED, FAILED"):
        ledger.start(batch.id, noon)


def test_the_unknown_is_named(ledger: Ledger) -> None:
    with pytest.raises(Unknown, match="no batch 'nobody'"):
        ledger.batch("nobody")
    with pytest.raises(Unknown, match="no batch 7"):
        ledger.images(ledger.batch(7).id)


def test_a_cancelled_batch_accepts_what_is_in_flight_and_starts_nothing(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png", "b.png"], ["c.png"])
    [chunk, other] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    assert ledger.ask_cancel(batch.id, noon).state is BatchState.CANCELLING
    with pytest.raises(BatchStopped, match="CANCELLING"):
        ledger.open_attempt(other.id, noon)
    [a, b] = ledger.missing(chunk.id)
    assert ledger.record(attempt.id, [outcome(a.id)], noon) == 1
    batch = ledger.cancelled(batch.id, noon)
    assert (batch.state, batch.reason) == (BatchState.CANCELLED, BatchEnd.CANCELLED_BY_USER)
    with pytest.raises(Fenced, match="CANCELLED"):
        ledger.record(attempt.id, [outcome(b.id)], noon)
    states = [image.state for image in ledger.images(batch.id)]
    assert states == [ImageState.DONE, ImageState.CANCELLED, ImageState.CANCELLED]
    assert ledger.chunks(batch.id, open_only=True) == []
    assert ledger.cancelled(batch.id, noon) == ledger.ask_cancel(batch.id, noon) == batch


def test_a_retry_works_off_only_what_is_missing(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png", "b.png"])
    work_off(ledger, batch, noon, outcome, rejects={"b.png"})
    ledger.finish(batch.id, noon)

    later = noon + timedelta(hours=1)
    batch = ledger.retry(batch.id, later)
    assert (batch.state, batch.round, batch.finished_at) == (BatchState.ARRIVED, 2, None)
    images = [NewImage(name, f"new/{name}", 2) for name in ("a.png", "b.png", "c.png")]
    ledger.revise(batch.id, fingerprint="2", model="best", scale=4, now=later)
    ledger.register(batch.id, images, [NewChunk(["a.png", "b.png", "c.png"], 2400)], later)
    ledger.start(batch.id, later)
    [chunk] = ledger.chunks(batch.id, open_only=True)
    assert [image.name for image in ledger.missing(chunk.id)] == ["b.png", "c.png"]
    work_off(ledger, batch, later + timedelta(seconds=2), outcome)
    assert ledger.progress(batch.id).images_per_second() == 1.0
    assert ledger.finish(batch.id, later).state is BatchState.DONE
    outputs = [image.output_name for image in ledger.images(batch.id)]
    assert outputs == ["a.png", "b.png", "new/c.png"]
    assert ledger.retry(batch.id, later).state is BatchState.ARRIVED  # images may have been added since


def test_a_failed_batch_can_be_retried(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png"], ["b.png"])
    [first, _] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(first.id, noon)
    [a] = ledger.missing(first.id)
    ledger.record(attempt.id, [outcome(a.id)], noon)
    ledger.fail(batch.id, BatchEnd.GAVE_UP, "It was started again too often.", noon)
    assert [chunk.state for chunk in ledger.chunks(batch.id)] == [ChunkState.DONE, ChunkState.CANCELLED]
    ledger.retry(batch.id, noon)
    ledger.register(batch.id, [], [NewChunk(["b.png"], 1200)], noon)
    ledger.start(batch.id, noon)
    work_off(ledger, batch, noon, outcome)
    assert ledger.finish(batch.id, noon).state is BatchState.DONE


def test_a_restart_fences_off_the_dead_run(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png", "b.png"])
    ledger.attach_run(batch.id, "run-1", noon)
    [chunk] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a, b] = ledger.missing(chunk.id)
    ledger.record(attempt.id, [outcome(a.id)], noon)
    batch = ledger.restarted(batch.id, noon)
    assert (batch.restarts, batch.flow_run_id, batch.state) == (1, None, BatchState.RUNNING)
    with pytest.raises(Fenced, match="SUPERSEDED"):
        ledger.record(attempt.id, [outcome(b.id)], noon)
    assert [image.name for image in ledger.missing(chunk.id)] == ["b.png"]


def test_progress_counts_and_foretells(ledger: Ledger, running: Running, outcome: Outcome, noon: datetime) -> None:
    batch = running(ledger, ["a.png", "b.png"], ["c.png", "d.png"])
    nothing = ledger.progress(batch.id)
    assert (nothing.images, nothing.waiting, nothing.seconds_left()) == (4, 4, None)
    [chunk, _] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a, b] = ledger.missing(chunk.id)
    outcomes = [outcome(a.id), outcome(b.id, reason="DAMAGED")]
    ledger.record(attempt.id, outcomes, noon + timedelta(seconds=4))
    progress = ledger.progress(batch.id)
    assert (progress.waiting, progress.done, progress.rejected, progress.settled) == (2, 1, 1, 2)
    assert (progress.pixels, progress.pixels_done, progress.bytes_out) == (4800, 1200, 3000)
    assert (progress.chunks, progress.chunks_done, progress.attempts_open) == (2, 0, 1)
    assert (progress.seconds_left(), progress.pixels_per_second()) == (4.0, 300.0)
    assert ledger.speed("fast") == 2400.0
    assert ledger.speed("unheard of") is None


def test_speed_is_told_of_each_scale_and_of_all_models_that_auto_may_take(
    ledger: Ledger, running: Running, outcome: Outcome, noon: datetime
) -> None:
    batch = running(ledger, ["a.png", "b.jpg", "c.jpg"])
    [chunk] = ledger.chunks(batch.id)
    attempt = ledger.open_attempt(chunk.id, noon)
    [a, b, c] = ledger.missing(chunk.id)
    compressed = replace(outcome(b.id), model="fast-jpeg", seconds=1.5)
    larger = replace(outcome(c.id), out_width=160, out_height=120, seconds=2.0)
    ledger.record(attempt.id, [outcome(a.id), compressed, larger], noon)
    assert ledger.speed("auto-fast", 2) == 2 * 1200 / 2.0
    assert (ledger.speed("fast", 2), ledger.speed("fast-jpeg", 2)) == (2400.0, 800.0)
    assert (ledger.speed("fast", 4), ledger.speed("auto-fast", 4)) == (600.0, 600.0)
    assert (ledger.speed("fast", 3), ledger.speed("auto-best", 2)) == (None, None)
    assert ledger.speed("fast") == 2 * 1200 / 2.5
