"""A machine's answer counts only if it is the result of the very chunk that it was sent; else it is sent away."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.enhancing import Enhancing, LostMachine
from infra.pool import dispatch, ends
from infra.records.tables import Batch, Chunk, Image
from infra.settings import Settings
from infra.states import AttemptEnd, ChunkState, ImageState, SourceKind
from workers.job import ChunkJob

DONE: dict[str, object] = {"image_id": 1, "done": True, "machine": "liar", "model": "fast", "width": 4}
LEFT = {"outcomes": (), "left": (1, 2)}


class Books:
    """As much of a ledger as one attempt needs."""

    def __init__(self) -> None:
        self.ended: list[AttemptEnd] = []
        self.recorded: list[int] = []

    def open_attempt(self, *_: object) -> Any:
        return SimpleNamespace(id=7, number=1)

    def missing(self, _: int) -> list[Image]:
        return [
            Image(id=n, batch_id=1, number=n, name=f"{n}.png", output_name=f"{n}.png", state=ImageState.WAITING)
            for n in (1, 2)
        ]

    def record(self, _: int, outcomes: list[Any], __: datetime) -> None:
        self.recorded += [outcome.image_id for outcome in outcomes]

    def end_attempt(self, _: int, end: AttemptEnd, *__: object, **___: object) -> None:
        self.ended.append(end)


@pytest.fixture
def sent_away(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(dispatch, "send_away", lambda _, name: names.append(name))
    return names


@pytest.mark.parametrize(
    "answer",
    [
        None,
        object(),
        "a sentence",
        {"outcomes": "many"},
        {"outcomes": ({**DONE, "width": "wide"},), "left": (2,)},
        {"outcomes": (DONE,)},  # nothing of image 2
        {"outcomes": (DONE, {**DONE, "image_id": 3}), "left": (2,)},  # of another chunk
        {**LEFT, "left": (1, 2, 3)},
    ],
)
def test_nonsense_is_not_recorded(answer: object, sent_away: list[str], monkeypatch: pytest.MonkeyPatch):
    books = Books()
    with pytest.raises(LostMachine, match="machine liar was sent away: it answered"):
        _work_off(books, [{"begun": 1}], answer, monkeypatch)
    assert (books.recorded, books.ended, sent_away) == ([], [AttemptEnd.FAILED], ["liar"])


def test_news_of_other_images_or_of_none_is_not_believed(sent_away: list[str], monkeypatch: pytest.MonkeyPatch):
    books = Books()
    news = [{"begun": 3}, {"outcome": {**DONE, "image_id": 3}}, {"outcome": "well done"}, {"outcome": DONE}]
    with pytest.raises(LostMachine, match="handed back"):
        _work_off(books, news, LEFT, monkeypatch)
    assert (books.recorded, books.ended, sent_away) == ([1], [AttemptEnd.PREEMPTED], [])


def test_after_an_image_has_lost_a_machine_its_chunk_goes_one_at_a_time(monkeypatch: pytest.MonkeyPatch):
    jobs: list[ChunkJob] = []
    work = _enhancing(Books(), monkeypatch)

    def lose_the_machine(_: object, __: object, job: ChunkJob, **___: object) -> object:
        jobs.append(job)
        work._hear((0.0, {"attempt": 7, "machine": "victim", "begun": 2}))
        raise ends.MachineLost("victim")

    monkeypatch.setattr(dispatch, "wait_for", lose_the_machine)
    for _ in range(2):
        with pytest.raises(LostMachine, match="victim is gone"):
            work.chunk(Chunk(id=1, batch_id=1, number=1, pixels=1, state=ChunkState.WAITING))
    assert [job.one_at_a_time for job in jobs] == [False, True]


def _enhancing(books: Books, monkeypatch: pytest.MonkeyPatch) -> Enhancing:
    batch = Batch(
        id=1, name="one", kind=SourceKind.FOLDER, source="one", fingerprint="", model="fast", scale=2,
        arrived_at=datetime.now(UTC),
    )  # fmt: skip
    nowhere = cast(Any, None)
    work = Enhancing(Settings(), cast(Any, books), batch, nowhere, nowhere, nowhere, "news")
    monkeypatch.setattr(work, "client", lambda _: None)
    return work


def _work_off(books: Books, news: list[dict[str, Any]], answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    work = _enhancing(books, monkeypatch)

    def wait_for(*_: object, **__: object) -> object:
        for it in news:
            work._hear((0.0, {"attempt": 7, "machine": "liar", **it}))
        return answer

    monkeypatch.setattr(dispatch, "wait_for", wait_for)
    work.chunk(Chunk(id=1, batch_id=1, number=1, pixels=1, state=ChunkState.WAITING))
