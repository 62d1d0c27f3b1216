"""Several images are in hand at the same time, so that the network never waits for a decoder, an encoder or a store.

Each image has a thread of its own from its file to its result. What they share is bounded here: memory, by the pixels
of the images that are open, and the network, at which no more than two are at a time, so that one's pixels travel
while the other's are enlarged.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

IN_HAND = 4
"""Images that have a thread at the same time."""
AT_THE_NETWORK = 2
ROOM = 24_000_000
"""Pixels of input that may be open at the same time; a larger image is open alone."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Withdrawn(Exception):
    """This image is not to be begun any more: nothing of it has been touched."""


class Turns:
    """Lets images in, in the order in which they come, while there is room, and a few of them to the network.

    From the moment when `no_more()` is true, images that were not at the network yet raise Withdrawn.
    """

    def __init__(
        self, no_more: Callable[[], bool] = lambda: False, *, room: int = ROOM, at_the_network: int = AT_THE_NETWORK
    ) -> None:
        self.no_more = no_more
        self.room = room
        self.network = threading.BoundedSemaphore(at_the_network)
        self._taken = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self, pixels: int) -> None:
        """Wait until so many pixels fit beside what is open, and nobody waits who came before."""
        me = object()
        with self._changed:
            self._queue.append(me)
            try:
                self._changed.wait_for(lambda: self._queue[0] is me and self._taken + pixels <= self.room)
                self._taken += pixels
            finally:
                self._queue.remove(me)
                self._changed.notify_all()

    def give_back(self, pixels: int) -> None:
        with self._changed:
            self._taken -= pixels
            self._changed.notify_all()


class Turn:
    """The way of one image through the turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._begun = False

    @contextmanager
    def open(self, pixels: int) -> Iterator[None]:
        """Hold the image open, with so many pixels, as soon as it fits beside those that are. Raises Withdrawn."""
        needed = min(pixels, self._turns.room)
        self._turns.take(needed)
        try:
            self._check()
            yield
        finally:
            self._turns.give_back(needed)

    @contextmanager
    def at_the_network(self) -> Iterator[None]:
        """Have a place at the network. Raises Withdrawn, but never once the image has been there."""
        with self._turns.network:
            self._check()
            self._begun = True
            yield

    def _check(self) -> None:
        if not self._begun and self._turns.no_more():
            raise Withdrawn


class Shares:
    """How much of the time each of several images has cost: a moment in which two are in hand counts half for each.

    So all seconds together are those that have passed, however many images overlap.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._in_hand = 0
        self._then = clock()
        self._each = 0.0  # what an image would have cost that has been in hand all the time

    @contextmanager
    def counted(self) -> Iterator[Callable[[], float]]:
        """Count an image as being in hand; yields how to ask for the seconds it has cost so far."""
        began = self._passed(1)
        try:
            yield lambda: self._passed(0) - began
        finally:
            self._passed(-1)

    def _passed(self, more: int) -> float:
        with self._lock:
            now = self._clock()
            self._each += (now - self._then) / max(1, self._in_hand)
            self._then = now
            self._in_hand += more
            return self._each


def overlapped(
    items: Iterable[Item], work: Callable[[Item], Result], in_hand: int = IN_HAND
) -> Iterator[tuple[Item, Result]]:
    """Do the work for several items at the same time; yields each with its result as it ends.

    When the work for one raises, or the caller stops, what is in hand is finished, and the rest is not begun.
    """
    with ThreadPoolExecutor(in_hand, thread_name_prefix="image") as pool:
        running: dict[Future[Result], Item] = {}
        waiting = iter(items)
        while True:
            while len(running) < in_hand:
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                running[pool.submit(work, item)] = item
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield running.pop(future), future.result()
