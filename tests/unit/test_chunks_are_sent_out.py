"""As many chunks are out as there are GPUs at that moment, and one more, whatever the settings say."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from flows import batch
from infra.pool.ends import Stopped
from infra.records.tables import Chunk
from infra.states import ChunkState
from tests.waiting import eventually

CHUNKS = 12


class Sent(Future[None]):
    """A chunk that is out until it is told to end."""

    @property
    def state(self) -> Any:
        return SimpleNamespace(is_failed=lambda: self.done() and self.exception() is not None)

    def wait(self) -> None:
        self.exception()


class Work:
    """A batch in hand, and a pool that has as many places as the test says."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(attempts=2)
        self.batch = SimpleNamespace(id=1)
        self.stop = threading.Event()
        self.there = 1
        self.sent: list[Sent] = []

    @property
    def ledger(self) -> Any:
        chunks = [Chunk(id=n, batch_id=1, number=n, pixels=1, state=ChunkState.WAITING) for n in range(CHUNKS)]
        return SimpleNamespace(chunks=lambda *_, **__: chunks)

    def places(self) -> int:
        return self.there

    def with_options(self, **_: object) -> "Work":
        return self

    def submit(self, *_: object, **__: object) -> Sent:
        self.sent.append(Sent())
        return self.sent[-1]

    def out(self) -> int:
        return sum(not it.done() for it in self.sent)

    def end(self, count: int) -> None:
        for it in [it for it in self.sent if not it.done()][:count]:
            it.set_result(None)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(batch, "enhance", work)
    monkeypatch.setattr(batch, "PULSE", 0.02)
    return work


def test_chunks_follow_the_machines_that_come_and_go(work: Work):
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(batch.work_off, work, None)  # type: ignore[arg-type]
        _out(work, 2)
        work.there = 5
        _out(work, 6)
        work.there = 2
        work.end(2)
        _stays(work, lambda: work.out() == 4)
        work.end(2)
        _out(work, 3)
        work.there = 0  # the machine that comes next finds work
        work.end(3)
        _out(work, 2)
        work.there = CHUNKS
        _out(work, CHUNKS - 7)
        work.end(CHUNKS)
        assert len(done.result(10)) == CHUNKS


def test_no_more_are_sent_than_can_be_waited_for(work: Work, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "MOST_CHUNKS", 4)
    work.there = 100
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(batch.work_off, work, None)  # type: ignore[arg-type]
        _out(work, 4)
        work.stop.set()
        work.end(4)
        with pytest.raises(Stopped):
            done.result(10)
    assert len(work.sent) == 4


def test_after_a_chunk_that_is_given_up_no_more_are_sent_and_the_others_end(work: Work):
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(batch.work_off, work, None)  # type: ignore[arg-type]
        _out(work, 2)
        work.sent[0].set_exception(ValueError("given up"))
        _stays(work, lambda: len(work.sent) == 2)
        assert not done.done()
        work.end(1)
        with pytest.raises(ValueError, match="given up"):
            done.result(10)


def _out(work: Work, count: int) -> None:
    eventually(f"{count} are out", lambda: work.out() == count)
    _stays(work, lambda: work.out() == count)


def _stays(work: Work, holds: Callable[[], bool]) -> None:
    threading.Event().wait(0.1)
    assert holds(), f"{work.out()} of {len(work.sent)} are out"
