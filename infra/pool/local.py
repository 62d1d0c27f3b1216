"""A pool of machine processes on this computer: rent, keep, give back, with the ledger's rows in step.

Every step may be repeated and may be taken over by another process at any point: processes are found again by
their records, machines by their rows. A machine is the very command that a rented VM runs.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from distributed import Client

from infra.pool import certificates, dispatch
from infra.pool.certificates import Certificate
from infra.pool.folder import life_folder, life_processes
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
MISSED_FOR = timedelta(seconds=60)
"""So long may a machine that lives be unknown to the scheduler before it is replaced."""
HOPELESS_GENTLY = 2.0
"""Seconds to end by itself for a machine that nobody can reach: it has nothing in hand that is wanted."""

# What a machine or the scheduler may see of this process's environment: no credential of ours, no address.
_HARMLESS = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")


class PoolFailed(Exception):
    """The pool cannot be opened or kept; a sentence with what to do."""


class Superseded(Exception):
    """Another keeper has the life in its hands now; leave it alone."""


@dataclass
class LocalPool:
    """One life of the local pool, in the hands of its keeper."""

    settings: Settings
    ledger: Ledger
    life: Life
    _client: Client | None = None
    _boot_failures: int = 0
    _missed_since: dict[str, datetime] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return life_folder(self.settings, self.life)

    @property
    def processes(self) -> Processes:
        return life_processes(self.settings, self.life)

    @property
    def _boot_deadline(self) -> timedelta:
        return timedelta(seconds=self.settings.boot_deadline)

    @property
    def _address_file(self) -> Path:
        return self.folder / "scheduler.json"

    def is_alive(self) -> bool:
        """Whether its scheduler lives; without it a life cannot go on."""
        return self.processes.find(SCHEDULER) is not None

    def open(self, now: datetime, still_ours: Callable[[], bool]) -> None:
        """Bring up the scheduler, unless it lives already.

        `still_ours()` is asked all the time whether this keeper still holds the life. Raises Superseded as soon as it
        does not, ProcessDied and StackError when the scheduler does not come up, PoolGone when it does not answer.
        """
        keys = self.folder / "certificates"
        if not (keys / "scheduler.key").exists():
            certificates.issue(keys, ("scheduler", "machine", "client"), ("127.0.0.1", "localhost"), now)
        if not self.is_alive():
            self._address_file.unlink(missing_ok=True)  # of one that died
        self.processes.start(
            SCHEDULER, _scheduler_command(Certificate.of(keys, "scheduler"), self._address_file), _scrubbed()
        )

        def listens() -> bool:
            if not still_ours():
                raise Superseded
            return self._address() is not None

        wait_for(listens, self.processes, SCHEDULER, "the Dask scheduler", SCHEDULER_DEADLINE)
        address = str(self._address())
        self._client = dispatch.connect(address, Certificate.of(keys, "client"))
        if not still_ours():
            raise Superseded
        if self.life.state is LifeState.OPENING:
            self.life = self.ledger.life_is_open(self.life.id, address, now, {"certificates": str(keys)})

    def step(self, now: datetime, say: Callable[[str], None]) -> None:
        """Look at every machine once, and do what is due. Raises PoolFailed when the life must end."""
        if self._client is None or self.processes.find(SCHEDULER) is None:
            raise PoolFailed("the Dask scheduler has died; the next life of the pool begins with a new one")
        joined = dispatch.machines_of(self._client)
        machines = self.ledger.machines(self.life.id, open_only=True)
        hopeless = [machine.name for machine in machines if self._look_at(machine, joined, now, say)]
        self.processes.stop(hopeless, gently=HOPELESS_GENTLY)  # the next step finds them gone
        if self._boot_failures >= MOST_BOOT_FAILURES:
            raise PoolFailed(f"{self._boot_failures} machines in a row never checked in: see {self.processes.logs}")
        while (rented := self._rent(now)) is not None:
            self._boot(rented, now)
            say(f"machine {rented.name} rented")

    def leave(self) -> None:
        """Let go of the life without touching it: whoever keeps it now goes on with its processes."""
        if self._client is not None:
            self._client.close(timeout=2)
            self._client = None

    def close(self, end: LifeEnd, now: datetime) -> None:
        """Give every machine back, end the rest, say so in the ledger, and remove the life's folder. Repeatable.

        The machines go first, and also when the ledger cannot be reached: they are what costs money. Raises
        LedgerUnreachable then; whoever finds the row still open closes it again.
        """
        self.leave()
        lived = [process.name for process in self.processes.all()]
        self.processes.stop([name for name in lived if name.startswith(self._prefix)])
        self.processes.stop(lived)
        self.ledger.close_life(self.life.id, end, now)
        for machine in self.ledger.machines(self.life.id, open_only=True):
            self.ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=MachineEnd.POOL_CLOSED)
        self.ledger.life_is_closed(self.life.id, now)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    @property
    def _prefix(self) -> str:
        """How the names of this life's machines begin."""
        return f"local-{self.life.id}-"

    def _look_at(self, machine: Machine, joined: set[str], now: datetime, say: Callable[[str], None]) -> bool:
        """Move one machine's row to where its process is; whether the process is to be ended."""
        process = self.processes.find(machine.name)
        if process is None:
            self._note_gone(machine, now, say)
            return False
        if machine.name in joined:
            self._missed_since.pop(machine.name, None)
            if machine.checked_in_at is None:
                self.ledger.check_in(machine.name, now)
                self._boot_failures = 0
                say(f"machine {machine.name} checked in after {(now - machine.requested_at).total_seconds():.0f} s")
            return False
        if machine.state is MachineState.REQUESTED:  # whoever started it did not come to note that
            self.ledger.move_machine(machine.id, MachineState.RUNNING, now, pid=process.pid)
        if machine.checked_in_at is None:
            return now - machine.requested_at > self._boot_deadline
        missed_since = self._missed_since.setdefault(machine.name, now)
        if now - missed_since < MISSED_FOR:
            return False
        say(f"machine {machine.name} lives but has left the scheduler; it is replaced")
        return True

    def _note_gone(self, machine: Machine, now: datetime, say: Callable[[str], None]) -> None:
        """The row of a machine whose process is gone."""
        if machine.state is MachineState.REQUESTED and now - machine.requested_at < timedelta(seconds=5):
            return  # another keeper may be starting it at this moment
        served = machine.checked_in_at is not None
        end = MachineEnd.LOST if served else MachineEnd.BOOT_FAILED
        self.ledger.move_machine(machine.id, MachineState.TERMINATED, now, end=end)
        self._boot_failures += not served
        self._missed_since.pop(machine.name, None)
        shutil.rmtree(self._scratch(machine), ignore_errors=True)  # at the latest it goes with the life
        why = "" if served else f": {self.processes.tail(machine.name, 3)}"
        say(f"machine {machine.name} is gone ({end}){why}")

    def _rent(self, now: datetime) -> Machine | None:
        """The row of one more machine, None when there are enough."""
        number = len(self.ledger.machines(self.life.id)) + 1
        return self.ledger.rent(
            self.life.id,
            self.settings.machines,
            name=f"{self._prefix}{number}",
            zone=ZONE,
            machine_type=f"{self.settings.threads} CPU threads",
            spot=False,
            now=now,
        )

    def _scratch(self, machine: Machine) -> Path:
        return self.folder / "scratch" / machine.name

    def _boot(self, machine: Machine, now: datetime) -> Process:
        keys = Certificate.of(self.folder / "certificates", "machine")
        scratch = self._scratch(machine)
        scratch.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "workers.machine", "--scheduler", str(self._address())]
        command += ["--name", machine.name, "--authority", str(keys.authority)]
        command += ["--certificate", str(keys.certificate), "--key", str(keys.key)]
        command += ["--model", self.settings.model, "--threads", str(self.settings.threads), "--scratch", str(scratch)]
        # Downloads and large canvases go where temporary files go: there they end with the life.
        process = self.processes.start(machine.name, command, {**_scrubbed(), "TMPDIR": str(scratch)})
        self.ledger.move_machine(machine.id, MachineState.RUNNING, now, pid=process.pid)
        return process

    def _address(self) -> str | None:
        """Where the scheduler listens; None while it has not said so."""
        try:
            return str(json.loads(self._address_file.read_text())["address"])
        except (FileNotFoundError, ValueError):
            return None  # not there, or half written


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
