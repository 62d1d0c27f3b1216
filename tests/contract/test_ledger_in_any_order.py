"""Whatever order the verbs are called in: legal moves only, nothing done is undone, the diary tells all."""

import tempfile
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infra.records import (
    BatchStopped,
    Fenced,
    IllegalMove,
    Image,
    ImageOutcome,
    Ledger,
    NewChunk,
    NewImage,
    Refused,
)
from infra.states import (
    OPEN_BATCHES,
    OPEN_CHUNKS,
    AttemptEnd,
    AttemptState,
    BatchEnd,
    BatchState,
    ChunkState,
    ImageState,
    SourceKind,
    may_move,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NAMES = ["a.png", "b.png", "c.png", "d.png"]
CHUNKS = [NewChunk(["a.png", "b.png", "c.png"], 3), NewChunk(["d.png"], 1)]
HARMLESS = (IllegalMove, Refused, Fenced, BatchStopped)
BATCH_VERBS = ["start", "finish", "ask_cancel", "cancelled", "retry", "restarted"]


class AnyOrder(RuleBasedStateMachine):
    """One batch, and everything that flows, watchers and users may do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}")
        self.ledger.migrate()
        wish = {"kind": SourceKind.ZIP, "source": "x", "fingerprint": "", "model": "fast", "scale": 2}
        batch = self.ledger.take("x", **wish, now=NOW)
        assert batch is not None
        self.id = batch.id
        self.published: dict[str, str | None] = {}
        self.register()
        self.ledger.start(self.id, NOW)
        self.open_attempt(0)

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def attempt(self, verb: str, *arguments: Any) -> None:
        """Call a verb; a refusal is fine as long as it changed nothing."""
        before = self.ledger.events()
        try:
            getattr(self.ledger, verb)(*arguments)
        except HARMLESS:
            assert self.ledger.events() == before

    @rule()
    def register(self) -> None:
        images = [NewImage(name, name, 1, width=1, height=1) for name in NAMES]
        waiting = {image.name for image in self.ledger.images(self.id, ImageState.DONE)} ^ set(NAMES)
        chunks = [NewChunk(sorted(waiting & set(chunk.images)), 1) for chunk in CHUNKS]
        self.attempt("register", self.id, images, chunks, NOW)

    @rule(verb=st.sampled_from(BATCH_VERBS))
    def move_the_batch(self, verb: str) -> None:
        self.attempt(verb, self.id, NOW)

    @rule()
    def fail(self) -> None:
        self.attempt("fail", self.id, BatchEnd.GAVE_UP, "It was too much.", NOW)

    @rule(pick=st.integers(0, 9))
    def open_attempt(self, pick: int) -> None:
        chunks = self.ledger.chunks(self.id)
        if chunks:
            self.attempt("open_attempt", chunks[pick % len(chunks)].id, NOW)

    @rule(
        pick=st.sampled_from([0, 0, 0, 1, 2]),
        which=st.sets(st.sampled_from(NAMES), min_size=1),
        done=st.booleans(),
        sha=st.text("ab"),
    )
    def record(self, pick: int, which: set[str], done: bool, sha: str) -> None:
        attempts = self.ledger.attempts(self.id)
        if attempts:
            attempt = attempts[-1 - pick % len(attempts)]
            mine = [i for i in self.ledger.images(self.id) if i.chunk_id == attempt.chunk_id and i.name in which]
            outcomes = [ImageOutcome(image.id, done=done, reason="R", sha256=sha) for image in mine]
            self.attempt("record", attempt.id, outcomes, NOW)

    @rule(pick=st.integers(0, 9), end=st.sampled_from(AttemptEnd))
    def end_attempt(self, pick: int, end: AttemptEnd) -> None:
        attempts = self.ledger.attempts(self.id)
        if attempts:
            self.attempt("end_attempt", attempts[-1 - pick % len(attempts)].id, end, NOW)

    @invariant()
    def what_is_done_stays_done(self) -> None:
        now = {image.name: image.sha256 for image in self.ledger.images(self.id, ImageState.DONE)}
        assert self.published.items() <= now.items()
        self.published = now

    @invariant()
    def a_chunk_runs_while_exactly_one_attempt_is_open(self) -> None:
        running = [chunk.id for chunk in self.ledger.chunks(self.id) if chunk.state is ChunkState.RUNNING]
        attempts = self.ledger.attempts(self.id)
        assert sorted(a.chunk_id for a in attempts if a.state is AttemptState.OPEN) == running
        assert all((a.state is AttemptState.ENDED) == (a.end is not None) for a in attempts)

    @invariant()
    def no_image_is_forgotten(self) -> None:
        batch, chunks = self.ledger.batch(self.id), {c.id: c.state for c in self.ledger.chunks(self.id)}
        images = self.ledger.images(self.id)
        if batch.state in (BatchState.REGISTERED, BatchState.RUNNING):
            assert all(chunks[i.chunk_id or 0] in OPEN_CHUNKS for i in images if i.state is ImageState.WAITING)
        if batch.state not in OPEN_BATCHES:
            assert not OPEN_CHUNKS & set(chunks.values())
            assert batch.finished_at is not None
        assert_the_end_fits(batch.state, images)

    @invariant()
    def the_diary_agrees(self) -> None:
        told = [BatchState(e.details["state"]) for e in self.ledger.events() if "state" in e.details]
        for before, after in pairwise(told):
            assert before is after or may_move(before, after)
        assert told[-1] is self.ledger.batch(self.id).state


def assert_the_end_fits(state: BatchState, images: list[Image]) -> None:
    states = {image.state for image in images}
    if state is BatchState.DONE:
        assert states == {ImageState.DONE}
    if state is BatchState.DONE_WITH_REJECTS:
        assert states == {ImageState.DONE, ImageState.REJECTED}
    if state is BatchState.CANCELLED:
        assert ImageState.WAITING not in states
    else:
        assert ImageState.CANCELLED not in states


TestTheLedgerInAnyOrder = AnyOrder.TestCase
TestTheLedgerInAnyOrder.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking a failure takes minutes; leave this line out to have it
    suppress_health_check=[HealthCheck.too_slow],
)
