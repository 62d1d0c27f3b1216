"""What time it is for the emulated cloud, and how to wait for something in it.

With the real clock a request that waits is answered when what it waits for has happened. With a clock that a test
moves by hand nobody waits: the answer says how things stand.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from infra.emulator.world import World


class Clock:
    """The real time."""

    waits = True

    def now(self) -> float:
        return time.time()


class HandClock(Clock):
    """Stands still until it is moved."""

    waits = False

    def __init__(self, start: float = 1_780_000_000.0) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def move(self, seconds: float) -> None:
        self.time += seconds


class Pace:
    """Moves a world on in real time, and wakes whoever waits for a change of it."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock
        self._changed = asyncio.Event()
        self._nudged = asyncio.Event()

    def advance(self) -> float:
        """Up to now, which is returned."""
        now = self.clock.now()
        self.world.advance(now)
        return now

    def changed(self) -> None:
        """Something happened: whoever waits looks again, and the next step may be due sooner."""
        self._changed.set()
        self._changed = asyncio.Event()
        self._nudged.set()

    async def until(self, holds: Callable[[], bool], patience: float) -> bool:
        """Wait until it holds, but no longer than `patience` seconds; whether it does."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while not holds():
            left = end - loop.time()
            if left <= 0 or not self.clock.waits:
                return holds()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return True

    async def run(self) -> None:
        """For ever: what is due happens when it is due."""
        while True:
            now = self.advance()
            self.changed()
            self._nudged.clear()
            due = self.world.due
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), None if due is None else max(0.001, due - now))
