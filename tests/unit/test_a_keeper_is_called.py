"""When a keeper of the pool is called, when its life is too old, and what its successor tells again."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from flows.arrivals import LONGEST_KEEPER_PAUSE, Calls
from flows.board import Board
from flows.pool import is_too_old
from infra.pool.certificates import LONGEST_LIFE
from infra.records import Ledger
from infra.records.tables import Life
from infra.states import LifeState

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def seconds(calls: Calls, life: int | None, now: datetime) -> float:
    """How long until the next call, to a second."""
    return next(s for s in range(100_000) if calls.may_call(life, now + timedelta(seconds=s)))


def test_a_keeper_that_fails_before_its_life_begins_is_called_again_after_longer_and_longer_pauses():
    calls, now, pauses = Calls(), NOON, []
    for _ in range(12):
        pauses.append(pause := seconds(calls, 3, now))
        now += timedelta(seconds=pause)
        calls.called(now)
    assert pauses[:5] == [0, 2, 4, 8, 16]
    assert pauses[-1] == LONGEST_KEEPER_PAUSE.total_seconds()
    assert seconds(calls, 4, now) == 0, "a life began since"


def test_a_life_ends_before_its_certificates_if_possible_between_two_pieces_of_work():
    life = Life(id=1, state=LifeState.OPEN, opened_at=NOON, details={})
    end = NOON + LONGEST_LIFE
    assert not is_too_old(life, works=False, now=end - timedelta(hours=25))
    assert is_too_old(life, works=False, now=end - timedelta(hours=23))
    assert not is_too_old(life, works=True, now=end - timedelta(hours=23))
    assert is_too_old(life, works=True, now=end - timedelta(minutes=59))


def test_the_next_keeper_shows_the_whole_diary_and_tells_only_what_is_new(sqlite_url: str):
    ledger, told, shown = Ledger(sqlite_url), list[str](), dict[str, str]()
    ledger.migrate()
    life = ledger.open_life(NOON)
    assert life is not None

    def show(key: str, _: str, text: str) -> bool:
        shown[key] = text
        return True

    def tell(_: str, __: str, details: Mapping[str, str], ___: datetime) -> None:
        told.append(details["message"])

    Board(ledger, life, show, tell).last(NOON)
    assert told == ["Life 1 of the pool is OPENING."]
    ledger.life_is_open(life.id, "tls://127.0.0.1:1", NOON)
    shown.clear()
    Board(ledger, ledger.life(life.id), show, tell).last(NOON)
    assert told == ["Life 1 of the pool is OPENING.", "Life 1 of the pool is OPEN."]
    assert "is OPENING" in shown["pool-life-1-diary"]


def test_what_could_not_be_shown_is_shown_the_next_time(sqlite_url: str):
    ledger, tries = Ledger(sqlite_url), list[str]()
    ledger.migrate()
    life = ledger.open_life(NOON)
    assert life is not None

    def show(key: str, *_: str) -> bool:
        tries.append(key)
        return len(tries) > 1

    board = Board(ledger, life, show, lambda *_: None)
    board.keep_up(NOON)
    board.last(NOON + timedelta(minutes=1))
    assert tries.count("pool-life-1-diary") == 2
    assert tries.count("pool-life-1-machines") == 1
