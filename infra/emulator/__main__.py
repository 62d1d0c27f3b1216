"""The emulator in a process of its own: `python -m infra.emulator --port 8085 --state FOLDER`."""

import argparse
import asyncio
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from uvicorn import Server

from infra.emulator import script
from infra.emulator.guests import StateInUse
from infra.emulator.server import bound, serve
from infra.emulator.world import Times, World

log = logging.getLogger("spotlift.emulator")

DEFAULT_PORT = 8085
ADDRESS = "emulator.json"
"""Written into the state folder when the emulator listens: its URL."""


class CannotListen(Exception):
    """The address cannot be listened on; a sentence."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"port, 0: any free one [{DEFAULT_PORT}]")
    parser.add_argument("--state", type=Path, default=Path(".emulator"), help="folder of its own [.emulator]")
    parser.add_argument("--script", type=Path, default=None, help="TOML file with trouble to make, and when")
    parser.add_argument("--no-processes", action="store_true", help="instances are states only; nothing runs in them")
    parser.add_argument("--seed", type=int, default=0, help="of what looks random [0]")
    for time_ in fields(Times):
        parser.add_argument(
            f"--{time_.name}",
            type=float,
            default=time_.default,
            help=f"seconds: see docs/emulator.md [{time_.default}]",
        )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        run(options)
    except (CannotListen, StateInUse, script.ScriptError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Until it is told to end. Raises CannotListen, StateInUse and ScriptError with a sentence."""
    world = World(Times(**{time_.name: getattr(options, time_.name) for time_ in fields(Times)}), options.seed)
    if options.script is not None:
        script.follow(world, script.read(options.script), time.time())
    options.state.mkdir(parents=True, exist_ok=True)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server takes the signal while it serves, and hands it on afterwards: there is still something to end then.
        signal.signal(number, lambda number, _: told.append(number))
    with _bound(options.host, options.port) as listening:
        host, port = listening.getsockname()[:2]

        def ready(server: Server) -> None:
            server.should_exit = bool(told)
            draft = options.state / f"{ADDRESS}.draft"
            draft.write_text(json.dumps({"url": f"http://{host}:{port}"}))
            draft.replace(options.state / ADDRESS)
            log.info("Compute Engine is at http://%s:%d", host, port)

        asyncio.run(serve(world, listening, None if options.no_processes else options.state, ready=ready))


def _bound(host: str, port: int) -> socket.socket:
    try:
        return bound(host, port)
    except (OSError, OverflowError) as error:
        raise CannotListen(f"cannot listen on {host}, port {port} ({error}): choose another with --port") from error


if __name__ == "__main__":
    sys.exit(main())
