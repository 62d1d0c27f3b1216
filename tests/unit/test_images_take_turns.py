"""Several images are in hand at a time: in bounded memory, in a fair order, and with seconds that add up."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.waiting import eventually
from workers.turns import Shares, Turn, Turns, Withdrawn, overlapped

PATIENCE = 10.0


def test_as_many_are_open_as_there_is_room_for_and_a_large_one_is_alone():
    turns = Turns(room=10)
    most, now, lock = 0, 0, threading.Lock()

    def open_for_a_while(pixels: int) -> int:
        nonlocal most, now
        with Turn(turns).open(pixels):
            with lock:
                now += pixels
                most = max(most, now)
                alone = pixels <= 10 or now == pixels
            assert alone, "something is open beside an image that is larger than all of the room"
            with lock:
                now -= pixels
        return pixels

    sizes = [4, 5, 6, 100, 1, 1, 3, 50, 2, 9] * 20
    assert sorted(size for _, size in overlapped(sizes, open_for_a_while, in_hand=6)) == sorted(sizes)
    assert most <= 100


def test_small_ones_do_not_pass_a_large_one_that_waits():
    turns = Turns(room=10)
    entered: list[str] = []

    def enter(name: str, pixels: int) -> None:
        with Turn(turns).open(pixels):
            entered.append(name)

    with ExitStack() as held:
        held.enter_context(Turn(turns).open(6))
        threads = [threading.Thread(target=enter, args=("large", 100))]
        threads[0].start()
        eventually("the large one waits", lambda: len(turns._queue) == 1)
        threads.append(threading.Thread(target=enter, args=("small", 1)))
        threads[1].start()
        eventually("the small one waits behind it", lambda: len(turns._queue) == 2)
        assert entered == []
    for thread in threads:
        thread.join(PATIENCE)
    assert entered == ["large", "small"]


def test_who_was_at_the_network_goes_on_and_who_was_not_is_withdrawn():
    no_more = threading.Event()
    turns = Turns(no_more.is_set)
    one, other = Turn(turns), Turn(turns)
    with one.open(1), other.open(1):
        with one.at_the_network():
            pass
        no_more.set()
        with one.at_the_network():
            pass
        with pytest.raises(Withdrawn), other.at_the_network():
            pytest.fail("it came to the network")
    with pytest.raises(Withdrawn), Turn(turns).open(1):
        pytest.fail("it was opened")
    turns.no_more = lambda: False
    with Turn(turns).open(turns.room):  # nothing was kept by those that were withdrawn
        pass


def test_no_more_than_two_are_at_the_network():
    turns = Turns()
    both, at_it = threading.Barrier(2), threading.Semaphore(2)

    def be_there(_: int) -> None:
        with Turn(turns).at_the_network():
            assert at_it.acquire(blocking=False)
            both.wait(PATIENCE)
            at_it.release()

    assert len(list(overlapped(range(12), be_there, in_hand=6))) == 12


def test_the_seconds_of_images_that_overlap_add_up_to_those_that_have_passed():
    now = 0.0
    shares = Shares(lambda: now)
    with shares.counted() as alone:
        now += 3
        assert alone() == 3
    with shares.counted() as one:
        now += 2
        with shares.counted() as other:
            now += 4
            assert (one(), other()) == (2 + 2, 2)
        now += 1
        assert one() == 5
    now += 100  # nothing is in hand
    with shares.counted() as last:
        now += 1
        assert last() == 1


def test_when_one_raises_no_other_is_begun_and_those_in_hand_are_finished():
    begun: list[int] = []
    finished: list[int] = []
    failed = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            failed.set()
            raise OSError("the disk is full")
        failed.wait(PATIENCE)
        finished.append(number)

    with pytest.raises(OSError, match="disk"):
        for _ in overlapped(range(100), work, in_hand=3):
            pass
    assert sorted(finished) == sorted(set(begun) - {1})
    assert len(begun) < 10


def test_items_are_taken_only_when_somebody_has_time_for_them():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    ends = overlapped(items(), lambda number: number * number, in_hand=3)
    first, square = next(ends)
    assert square == first * first
    assert taken == [0, 1, 2]
    assert {first, *(number for number, _ in ends)} == set(range(10))
