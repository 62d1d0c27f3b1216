"""The local stack: a Prefect server with its UI, the worker of the work pool `control`, and the emulator of Compute
Engine unless machines are rented from Google; up and down.

All are long-lived processes in the background. `up` is repeatable and mends: what lives is kept, what died is
started again. Which port a running server listens on is read from its record, so that later commands need no option.
"""

import errno
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from infra.pool.folder import lives_folder
from infra.processes import Process, ProcessDied, Processes
from infra.settings import Settings

SERVER = "prefect-server"
CONTROL_WORKER = "control-worker"
EMULATOR = "emulator"
CONTROL_POOL = "control"
GPU_POOL = "spot-gpu"

START_DEADLINE = 120.0
GOOGLE_CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
"""Public keys by which identity tokens of Google's VMs are checked."""


class StackError(Exception):
    """The local stack cannot be brought up; a sentence, with what to do."""


@dataclass(frozen=True)
class Address:
    """Where the Prefect server of a stack answers."""

    host: str
    port: int

    @property
    def ui(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.ui}/api"


def stack_processes(settings: Settings) -> Processes:
    """The processes of this state folder that outlive commands."""
    return Processes(settings.state / "run", settings.logs, mark=str(settings.state))


def address(settings: Settings) -> Address:
    """Of the running server; of the one that `up` would start if none runs."""
    server = stack_processes(settings).find(SERVER)
    if server is None:
        return Address(settings.host, settings.port)
    return Address(server.details["host"], int(server.details["port"]))


def environment(settings: Settings) -> dict[str, str]:
    """The environment of everything that talks to the stack's Prefect server."""
    at = address(settings)
    return {
        **os.environ,
        **settings.environment(),
        "PREFECT_HOME": str(settings.state / "prefect"),
        "PREFECT_API_URL": at.api,
        "PREFECT_SERVER_UI_API_URL": at.api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def start_server(settings: Settings, say: Callable[[str], None]) -> Address:
    """A Prefect server that answers, started if none runs. Raises StackError with the end of its log."""
    processes = stack_processes(settings)
    if processes.find(SERVER) is None:
        at = _where_others_ask(processes, SERVER, Address(settings.host, settings.port))
        # Whoever starts the stack at the same moment may be quicker; then it is our own server that has the port.
        if (why := why_not_listen(at)) and processes.find(SERVER) is None:
            raise StackError(why)
        say("starting the Prefect server")
        processes.start(
            SERVER,
            [sys.executable, "-m", "prefect", "server", "start", "--host", at.host, "--port", str(at.port)],
            environment(settings),
            {"host": at.host, "port": str(at.port)},
        )
    at = address(settings)
    wait_for(lambda: answers(at), processes, SERVER, "the Prefect server")
    return at


def start_emulator(settings: Settings) -> None:
    """An emulator of Compute Engine that answers, started if none runs. Raises StackError with the end of its log."""
    processes = stack_processes(settings)
    if processes.find(EMULATOR) is None:
        at = _where_others_ask(processes, EMULATOR, Address("127.0.0.1", settings.emulator_port))
        if (why := why_not_listen(at, "the emulator", "SPOTLIFT_EMULATOR_PORT")) and processes.find(EMULATOR) is None:
            raise StackError(why)
        command = [sys.executable, "-m", "infra.emulator", "--port", str(at.port)]
        command += ["--state", str(settings.state / "emulator")]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTLIFT_", "PREFECT_"))}
        processes.start(EMULATOR, command, own, {"port": str(at.port)})
    wait_for(lambda: _is_open(str(endpoint(settings))), processes, EMULATOR, "the emulator of Compute Engine")


def endpoint(settings: Settings) -> str | None:
    """Where Compute Engine answers: the running emulator, or the one that `up` would start. None: Google."""
    if settings.cloud == "google":
        return None
    emulator = stack_processes(settings).find(EMULATOR)
    port = settings.emulator_port if emulator is None else emulator.details["port"]
    return f"http://127.0.0.1:{port}"


def certificates_url(settings: Settings) -> str:
    """Where the public keys are by which a VM's identity token is checked."""
    at = endpoint(settings)
    return GOOGLE_CERTIFICATES if at is None else f"{at}/oauth2/v1/certs"


def start_control_worker(settings: Settings) -> Process:
    """The Prefect worker that runs the watcher and the pool keeper."""
    return stack_processes(settings).start(CONTROL_WORKER, worker_command(CONTROL_POOL), environment(settings))


def worker_command(pool: str, name: str | None = None) -> list[str]:
    """The command of a Prefect worker of type process for a work pool that exists."""
    named = ["--name", name] if name else []
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", *named]


def state_of(settings: Settings) -> Mapping[str, bool]:
    """Which processes of the stack live."""
    processes = stack_processes(settings)
    parts = (SERVER, CONTROL_WORKER) if settings.cloud == "google" else (SERVER, CONTROL_WORKER, EMULATOR)
    return {name: processes.find(name) is not None for name in parts}


def stop_work(settings: Settings) -> list[str]:
    """End everything of the stack but the server and the cloud: first the control worker, then what else still lives.

    The emulator stays, with the machines in it, so that they can be given back in order.
    """
    processes = stack_processes(settings)
    lived = [process.name for process in processes.all() if process.alive()]
    processes.stop([CONTROL_WORKER])
    processes.sweep(spare=[process.pid for name in (SERVER, EMULATOR) if (process := processes.find(name))])
    if lives_folder(settings).exists():
        shutil.rmtree(lives_folder(settings))  # no process needs its certificates any more
    return lived


def stop_server(settings: Settings) -> None:
    """End server and emulator, and anything that was missed."""
    processes = stack_processes(settings)
    processes.stop([SERVER, EMULATOR])
    processes.sweep()


def _where_others_ask(processes: Processes, name: str, wished: Address) -> Address:
    """Where to start what is not there: where it was before it died, if others live on that ask for it there."""
    records = {process.name: process for process in processes.all()}
    if name not in records or not any(process.alive() for process in records.values()):
        return wished
    before = Address(records[name].details.get("host", wished.host), int(records[name].details["port"]))
    return wished if why_not_listen(before) else before


def _is_open(url: str) -> bool:
    """Whether anything answers there over HTTP, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False


def answers(at: Address) -> bool:
    """Whether a Prefect server says that it is healthy."""
    try:
        with urllib.request.urlopen(f"{at.api}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(
    ready: Callable[[], bool], processes: Processes, name: str, what: str, deadline: float = START_DEADLINE
) -> None:
    """Wait until ready; raises ProcessDied as soon as the process is dead, StackError after the deadline."""
    until = time.monotonic() + deadline
    while not ready():
        if processes.find(name) is None:
            raise ProcessDied(f"{what} ended while starting. The end of its log:\n{processes.tail(name)}")
        if time.monotonic() > until:
            raise StackError(
                f"{what} did not answer within {deadline:.0f} s. The end of its log:\n{processes.tail(name)}"
            )
        time.sleep(0.1)


def why_not_listen(at: Address, what: str = "the Prefect server", option: str = "--port or SPOTLIFT_PORT") -> str:
    """Why a server cannot listen there, and what to do; empty when it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((at.host, at.port))
        except (OSError, UnicodeError) as error:
            number = error.errno if isinstance(error, OSError) else None
            another = f"choose another with {option}"
            if number == errno.EADDRINUSE:
                return f"port {at.port} is in use by another program: {another}, or end that program"
            if number == errno.EACCES:
                return f"port {at.port} is reserved for the system: {another}, from 1024 on"
            return (
                f"{what} cannot listen on {at.host!r} ({error}): "
                "choose an address of this computer with SPOTLIFT_HOST, 127.0.0.1 for instance"
            )
    return ""
