"""The emulator as one running thing: world, pace, guests and web application, in a process or in a thread."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn import Server

from infra.emulator.api import create_app
from infra.emulator.clock import Clock, Pace
from infra.emulator.guests import Guests
from infra.emulator.identity import Identity
from infra.emulator.serving import configured
from infra.emulator.world import World

log = logging.getLogger("spotlift.emulator")

START_DEADLINE = 20.0


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio send small answers at once, instead of 40 ms later.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening


async def serve(
    world: World,
    listening: socket.socket,
    state: Path | None = None,
    clock: Clock | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ready: Callable[[Server], None] = lambda _: None,
) -> None:
    """Until the server is told to exit. `state` None: instances are states only, nothing runs in them.

    With a clock that is moved by hand, the world moves on only when a request comes in. `wrap` puts something around
    the application.
    """
    clock = clock or Clock()
    pace, identity = Pace(world, clock), Identity()
    pace.advance()
    guests: Guests | None = None
    if state is not None:
        guests = Guests(pace, identity, state)
        guests.prepare()
        world.has_guests = True
        world.watch(guests.watch)
    else:
        world.watch(lambda _, __: pace.changed())
    app = create_app(pace, identity, guests.console if guests else lambda _: None)
    server = Server(configured(wrap(app)))
    moving = asyncio.create_task(pace.run()) if clock.waits else None
    ready(server)
    try:
        await server.serve(sockets=[listening])
    finally:
        if moving is not None:
            moving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await moving
        if guests is not None:
            await guests.close()


@contextmanager
def in_thread(
    world: World | None = None,
    clock: Clock | None = None,
    state: Path | None = None,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> Iterator[str]:
    """An emulator in a thread of this process, over real HTTP; yields its URL.

    For tests that want to hold the world or its clock in their own hands (`clock.HandClock`), or to see every answer.
    """
    listening = bound("127.0.0.1", 0)
    started: list[Server] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(serve(world or World(), listening, state, clock, wrap, started.append))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - raised again where the test is
            failures.append(error)

    thread = threading.Thread(target=run, name="emulator", daemon=True)
    thread.start()
    try:
        # The socket listens already: a request waits until the server takes it.
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        while thread.is_alive() and not started:
            thread.join(0.01)
        for server in started:
            server.should_exit = True
        thread.join(START_DEADLINE)
        listening.close()
    if failures:
        raise failures[0]
