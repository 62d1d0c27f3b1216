"""How the emulator listens: HTTP connections that know their transport, so that one can be cut without an answer."""

import asyncio
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_KEEP_ALIVE: Final = 600
"""Seconds that an idle connection is kept: a client that is about to use one again must not find it closed."""


class Protocol(H11Protocol):
    """Puts the transport into the state of each request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


def configured(app: ASGIApp) -> Config:
    config = Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )
    config.load()
    return config


async def listen(config: Config, address: str, state: dict[str, Any]) -> tuple[asyncio.Server, str]:
    """A further server in this loop, on any free port of that address; where the address is none, on the usual one.

    `state` is what its requests find in theirs.
    """
    loop = asyncio.get_running_loop()

    def connected() -> Protocol:
        return Protocol(config=config, server_state=ServerState(), app_state=state, _loop=loop)

    try:
        server = await loop.create_server(connected, address, 0)
    except OSError:  # only Linux has all of 127.0.0.0/8
        server = await loop.create_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    return server, f"{host}:{port}"
