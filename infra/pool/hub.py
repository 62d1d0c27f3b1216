"""The pool's own processes on the controller: the Dask scheduler, and the registrar that lets machines in.

They belong to one life of the pool, and outlive a keeper that dies: whoever keeps the life next finds them by their
records. Their addresses are chosen before they listen, so that machines can be asked for meanwhile.
"""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.pool import certificates
from infra.pool.certificates import Certificate
from infra.pool.folder import life_folder, life_processes
from infra.pool.keeper import prefix_of
from infra.processes import Processes
from infra.records.tables import Life
from infra.settings import Settings
from infra.stack import certificates_url

if TYPE_CHECKING:  # Dask takes half a second to import, and machines are asked for before it is needed
    from distributed import Client

SCHEDULER = "scheduler"
REGISTRAR = "registrar"
GOES_SILENT_AFTER = "30s"
"""A machine whose host froze or whose network broke closes no connection: only its heartbeats are missed."""

# What the scheduler and the registrar may see of this process's environment: no credential of ours, no address.
_HARMLESS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass
class Hub:
    """Scheduler and registrar of one life."""

    settings: Settings
    life: Life
    _client: "Client | None" = None
    _addresses: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return life_folder(self.settings, self.life)

    @property
    def processes(self) -> Processes:
        return life_processes(self.settings, self.life)

    @property
    def keys(self) -> Path:
        return self.folder / "certificates"

    @property
    def scheduler(self) -> str:
        """The scheduler's address, also before it listens."""
        return self._addresses["scheduler"]

    @property
    def audience(self) -> str:
        """What a machine's identity token must be made out to: this very life."""
        return prefix_of(self.life).rstrip("-")

    def is_alive(self) -> bool:
        """Whether its scheduler lives; without it a life cannot go on."""
        return self.processes.find(SCHEDULER) is not None

    def start(self, now: datetime) -> None:
        """Start what does not live. Repeatable; a successor finds keys, addresses and processes as they are."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for place in ("expected", "refused"):
            (self.folder / place).mkdir(exist_ok=True)
        if not (self.keys / "registrar.key").exists():
            certificates.make_authority(self.keys, now)
            hosts = {"127.0.0.1", "localhost", self.settings.controller}
            certificates.issue(self.keys, ("scheduler", "client", "registrar"), sorted(hosts), now)
        self._addresses = self._known_addresses() or self._choose_addresses()
        self.processes.start(SCHEDULER, self._scheduler_command(), _scrubbed())
        self.processes.start(REGISTRAR, self._registrar_command(), _scrubbed())

    def connect(self) -> bool:
        """Whether the scheduler can be asked: connect to it as soon as it listens. Raises PoolGone."""
        if self._client is None and _listens(self.scheduler):
            from infra.pool import dispatch

            self._client = dispatch.connect(self.scheduler, Certificate.of(self.keys, "client"))
        return self._client is not None

    def leave(self) -> None:
        """Let go of the scheduler without touching it."""
        if self._client is not None:
            from infra.pool import dispatch

            dispatch.disconnect(self._client)
            self._client = None

    def stop(self) -> None:
        """End both processes, and whatever else the life has started here."""
        self.leave()
        self.processes.stop([process.name for process in self.processes.all()])

    def remove(self) -> None:
        """Remove keys and everything else of the life but its logs."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    # What the keeper needs

    def metadata(self) -> Mapping[str, str]:
        """What a machine must know to join; public things only."""
        settings = self.settings
        return {
            "spotlift-scheduler": self.scheduler,
            "spotlift-registrar": self._addresses["registrar"],
            "spotlift-authority": (self.keys / "authority.pem").read_text(),
            "spotlift-audience": self.audience,
            "spotlift-image": settings.container,
            "spotlift-model": settings.model if not settings.model.endswith(".keras") else "",
            "spotlift-threads": str(settings.threads),
            **({"spotlift-logs": "gcplogs"} if settings.cloud == "google" else {}),
        }

    def expect(self, name: str, zone: str) -> None:
        """From now on that machine may have a certificate."""
        place = self.folder / "expected" / name
        draft = place.with_name(f".{name}")
        draft.write_text(zone)
        draft.replace(place)

    def forget(self, name: str) -> None:
        """No certificate for that machine any more; whatever it had in hand goes elsewhere at once."""
        for place in (self.folder / "expected" / name, self.folder / "refused" / f"{name}.json"):
            place.unlink(missing_ok=True)
        if (client := self._answering()) is not None:
            from infra.pool import dispatch

            dispatch.forget(client, name)

    def refusal(self, name: str) -> str:
        """Why the registrar did not let that machine in; empty if it did, or has not been asked."""
        try:
            return str(json.loads((self.folder / "refused" / f"{name}.json").read_text())["error"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def at_work(self) -> Mapping[str, bool] | None:
        """The machines that the scheduler has, and whether they have work; None if it cannot say at the moment."""
        client = self._answering()
        if client is None:
            return None
        from infra.pool import dispatch

        return dispatch.at_work(client)

    def _answering(self) -> "Client | None":
        """The client, unless the scheduler is gone: asking that would take as long as its deadline."""
        client = self._client
        return client if client is not None and client.status == "running" and self.is_alive() else None

    def _known_addresses(self) -> dict[str, str]:
        try:
            known = json.loads((self.folder / "addresses.json").read_text())
            return {name: str(known[name]) for name in ("scheduler", "registrar")}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _choose_addresses(self) -> dict[str, str]:
        at, settings = self.settings.controller, self.settings
        ports = _ports(self._listen_at, settings.scheduler_port, settings.registrar_port)
        chosen = {"scheduler": f"tls://{at}:{ports[0]}", "registrar": f"https://{at}:{ports[1]}"}
        draft = self.folder / "addresses.json.part"
        draft.write_text(json.dumps(chosen))
        draft.replace(self.folder / "addresses.json")
        return chosen

    @property
    def _listen_at(self) -> str:
        """Emulated machines are on this computer; rented ones come from outside, and only TLS lets them in."""
        return "127.0.0.1" if self.settings.cloud == "emulator" else "0.0.0.0"

    def _scheduler_command(self) -> list[str]:
        keys = Certificate.of(self.keys, "scheduler")
        port = self.scheduler.rpartition(":")[2]
        return [
            sys.executable, "-m", "distributed.cli.dask_scheduler",
            "--host", f"tls://{self._listen_at}", "--port", port, "--no-dashboard", "--no-show",
            "--dashboard-address", "127.0.0.1:0",  # it serves plain HTTP also without a dashboard: to nobody outside
            "--tls-ca-file", str(keys.authority), "--tls-cert", str(keys.certificate), "--tls-key", str(keys.key),
        ]  # fmt: skip

    def _registrar_command(self) -> list[str]:
        return [
            sys.executable, "-m", "infra.pool.registrar", "--folder", str(self.folder),
            "--host", self._listen_at, "--port", self._addresses["registrar"].rpartition(":")[2],
            "--audience", self.audience, "--certs-url", certificates_url(self.settings),
            "--project", self.settings.project,
        ]  # fmt: skip


def _listens(address: str) -> bool:
    host, _, port = address.removeprefix("tls://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _ports(host: str, *wished: int | None) -> list[int]:
    """The wished ports, and free ones for those that are None."""
    with_sockets = [socket.socket() for _ in wished]
    try:
        for probe in with_sockets:
            probe.bind((host, 0))
        return [wish or probe.getsockname()[1] for wish, probe in zip(wished, with_sockets, strict=True)]
    finally:
        for probe in with_sockets:
            probe.close()


def _scrubbed() -> dict[str, str]:
    """An environment without anything secret, in which a lost machine is an error at once and not a silent retry."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    return {
        **kept,
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",  # what waits goes to whoever is free first
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": GOES_SILENT_AFTER,
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": GOES_SILENT_AFTER,
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        "PYTHONUNBUFFERED": "1",
    }
