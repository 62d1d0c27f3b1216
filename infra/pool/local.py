"""A pool of machine processes on this computer: rent, keep, give back, with the ledger's rows in step.

Every step may be repeated and may be taken over by another process at any point: processes are found again by
their records, machines by their rows. A machine is the very command that a rented VM runs.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from distributed import Client

from infra.pool import certificates, dispatch
from infra.pool.certificates import Certificate
from infra.processes import Process, Processes
from infra.records import Ledger
from infra.records.tables import Life, Machine
from infra.settings import Settings
from infra.stack import wait_for
from infra.states import LifeEnd, LifeState, MachineEnd, MachineState

SCHEDULER = "scheduler"
SCHEDULER_DEADLINE = 60.0
ZONE = "local"
MOST_BOOT_FAILURES = 5
"""Machines in a row that never check in, after which the life ends: the next would not either."""

# What a machine or the scheduler may see of this process's environment: no credential of ours, no address.
_HARMLESS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


class PoolFailed(Exception):
    """The pool cannot be opened or kept; a sentence with what to do."""


@dataclass
class LocalPool:
    """One life of the local pool, in the hands of its keeper."""

    settings: Settings
    ledger: Ledger
    life: Life
    _client: Client | None = None
    _boot_failures: int = 0

    @property
    def folder(self) -> Path:
        """Certificates, process records and scratch of this life; nothing in it outlives the life."""
        return self.settings.state / "lives" / str(self.life.id)

    @property
    def _boot_deadline(self) -> timedelta:
        return timedelta(seconds=self.settings.boot_deadline)

    @property
    def processes(self) -> Processes:
        return Processes(self.folder / "run", self.settings.logs / f"life-{self.life.id}", str(self.settings.state))

    def open(self, now: datetime) -> None:
        """Bring up the scheduler, unless it lives already. Raises PoolFailed."""
        keys = self.folder / "certificates"
        address_file = self.folder / "scheduler.json"
        if not (keys / "scheduler.key").exists():
            certificates.issue(keys, ("scheduler", "machine", "client"), ("127.0.0.1", "localhost"), now)
        self.processes.start(
            SCHEDULER, _scheduler_command(Certificate.of(keys, "scheduler"), address_file), _scrubbed()
        )
        wait_for(address_file.exists, self.processes, SCHEDULER, "the Dask scheduler", SCHEDULER_DEADLINE)
        address = str(json.loads(address_file.read_text())["address"])
        self._client = dispatch.connect(address, Certificate.of(keys, "client"))
        if self.life.state is LifeState.OPENING:
            self.life = self.ledger.life_is_open(self.life.id, address, now, {"certificates": str(keys)})

    def step(self, now: datetime, say: Callable[[str], None]) -> None:
        """Look at every machine once, and do what is due. Raises PoolFailed when the life must end."""
        if self._client is None or self.processes.find(SCHEDULER) is None:
            raise PoolFailed("the Dask scheduler has died; the next life of the pool begins with a new one")
        joined = dispatch.machines_of(self._client)
        for machine in self.ledger.machines(self.life.id, open_only=True):
            self._look_at(machine, joined, now, say)
        if self._boot_failures >= MOST_BOOT_FAILURES:
            raise PoolFailed(f"{self._boot_failures} machines in a row never checked in: see {self.processes.logs}")
        while (rented := self._rent(now)) is not None:
            self._boot(rented, now)
            say(f"machine {rented.name} rented")

    def close(self, end: LifeEnd, now: datetime) -> None:
        """Give every machine back, end the scheduler, and say so in the ledger. Repeatable."""
        self.ledger.close_life(self.life.id, end, now)
        machines = self.ledger.machines(self.life.id, open_only=True)
        if self._client is not None:
            self._client.close(timeout=2)
        self.processes.stop([machine.name for machine in machines])
        for machine in machines:
            self.ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=MachineEnd.POOL_CLOSED)
        self.processes.stop([process.name for process in self.processes.all()])
        self.ledger.life_is_closed(self.life.id, now)

    def _look_at(self, machine: Machine, joined: set[str], now: datetime, say: Callable[[str], None]) -> None:
        """Move one machine's row to where its process is."""
        if self.processes.find(machine.name) is None:
            served = machine.checked_in_at is not None
            if machine.state is MachineState.REQUESTED and now - machine.requested_at < timedelta(seconds=5):
                return  # another keeper may be starting it at this moment
            self._boot_failures += not served
            end = MachineEnd.LOST if served else MachineEnd.BOOT_FAILED
            self.ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=end)
            say(
                f"machine {machine.name} is gone ({end})"
                + ("" if served else f": {self.processes.tail(machine.name, 3)}")
            )
        elif machine.checked_in_at is None and machine.name in joined:
            self._boot_failures = 0
            self.ledger.check_in(machine.name, now)
            say(f"machine {machine.name} checked in after {(now - machine.requested_at).total_seconds():.0f} s")
        elif machine.checked_in_at is None and now - machine.requested_at > self._boot_deadline:
            self.processes.stop([machine.name])
        elif machine.state is MachineState.REQUESTED:
            self.ledger.move_machine(machine.id, MachineState.RUNNING, now)

    def _rent(self, now: datetime) -> Machine | None:
        """The row of one more machine, None when there are enough."""
        number = len(self.ledger.machines(self.life.id)) + 1
        return self.ledger.rent(
            self.life.id,
            self.settings.machines,
            name=f"local-{self.life.id}-{number}",
            zone=ZONE,
            machine_type=f"{self.settings.threads} CPU threads",
            spot=False,
            now=now,
        )

    def _boot(self, machine: Machine, now: datetime) -> Process:
        keys = Certificate.of(self.folder / "certificates", "machine")
        scratch = self.folder / "scratch" / machine.name
        scratch.mkdir(parents=True, exist_ok=True)
        address = str(json.loads((self.folder / "scheduler.json").read_text())["address"])
        command = [sys.executable, "-m", "workers.machine", "--scheduler", address, "--name", machine.name]
        command += [
            "--authority",
            str(keys.authority),
            "--certificate",
            str(keys.certificate),
            "--key",
            str(keys.key),
        ]
        command += [
            "--model",
            self.settings.model,
            "--threads",
            str(self.settings.threads),
            "--scratch",
            str(scratch),
        ]
        process = self.processes.start(machine.name, command, _scrubbed())
        self.ledger.move_machine(machine.id, MachineState.RUNNING, now, pid=process.pid)
        return process


def _scheduler_command(keys: Certificate, address_file: Path) -> list[str]:
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "tls://127.0.0.1",
        "--port",
        "0",
    ]
    command += ["--no-dashboard", "--no-show", "--scheduler-file", str(address_file)]
    return [
        *command, "--tls-ca-file", str(keys.authority), "--tls-cert", str(keys.certificate), "--tls-key", str(keys.key)
    ]  # fmt: skip


def _scrubbed() -> dict[str, str]:
    """An environment without anything secret, in which a lost machine is an error at once and not a silent retry."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    return {
        **kept,
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
