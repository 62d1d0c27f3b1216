"""What runs in the emulated machines: each its startup script, in a folder and a session of its own.

The console of a machine is a file. Everything that a machine has started ends with it, and all of them end with the
emulator; one that was killed itself finds the rest when it starts again.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from uvicorn import Config

from infra.emulator import metadata
from infra.emulator.clock import Pace
from infra.emulator.families import MARK, Family, end_those_left
from infra.emulator.identity import Identity
from infra.emulator.model import Instance, Status, Turn
from infra.emulator.serving import configured, listen

log = logging.getLogger("spotlift.emulator")

STACK_MARK: Final = "SPOTLIFT_STACK"
"""By this mark of the local stack (infra.processes) its processes are found; machines carry it on."""
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOK_EVERY: Final = 0.05
_CONSOLES_KEPT: Final = 200
_CLOSE_PATIENCE: Final = 10.0


class StateInUse(Exception):
    """Another emulator uses the state folder."""


@dataclass(eq=False)
class _Guest:
    """A machine that is switched on."""

    folder: Path
    record: Path
    server: asyncio.Server
    process: subprocess.Popen[bytes] | None = None
    family: Family | None = None


class Guests:
    """The machines of one emulator. `watch` is to be told of every turn of an instance."""

    def __init__(self, pace: Pace, identity: Identity, state: Path) -> None:
        self._pace = pace
        self._state = state.resolve()
        self._config: Config = configured(metadata.create_app(pace, identity))
        self._guests: dict[int, _Guest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock: IO[str] | None = None
        self._closed = False

    def prepare(self) -> None:
        """Take the state folder, and end what a dead emulator left there. Raises StateInUse."""
        for folder in (self._instances, self._records, self._consoles):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._state / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateInUse(f"another emulator uses the folder {self._state}: end it, or choose another") from error
        count = end_those_left(self._records, f"{self._instances}{os.sep}")
        if count:
            log.warning("ended %d processes of machines whose emulator had died", count)
        for folder in self._instances.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for console in sorted(self._consoles.iterdir(), key=lambda it: it.stat().st_mtime)[:-_CONSOLES_KEPT]:
            console.unlink(missing_ok=True)
        self._lay_out_stand_ins()

    @property
    def _instances(self) -> Path:
        return self._state / "instances"

    @property
    def _records(self) -> Path:
        return self._state / "processes"

    @property
    def _consoles(self) -> Path:
        return self._state / "consoles"

    @property
    def _stand_ins(self) -> Path:
        return self._state / "stand-ins"

    def _lay_out_stand_ins(self) -> None:
        """A copy that can be executed, whatever became of the permissions on the way here."""
        shutil.rmtree(self._stand_ins, ignore_errors=True)
        shutil.copytree(Path(__file__).with_name("stand_ins"), self._stand_ins)
        for program in self._stand_ins.iterdir():
            program.chmod(0o755)

    def console(self, instance_id: int) -> Path | None:
        """Where a machine's console is written to."""
        return next(self._consoles.glob(f"*-{instance_id}.log"), None)

    def watch(self, instance: Instance, turn: Turn) -> None:
        """An instance takes a turn: do to its guest what a host would."""
        log.info("%s: %s", instance.name, turn)
        match turn:
            case Turn.BOOT:
                self._begin(self._boot(instance))
            case Turn.SHUTDOWN:
                guest = self._guests.get(instance.id)
                if guest is not None and guest.family is not None:
                    guest.family.signal(signal.SIGTERM)
                self._begin(self._report_end(instance))
            case Turn.POWER_OFF:
                self._power_off(instance.id)
            case Turn.NOTICE | Turn.GONE:
                pass
        self._pace.changed()

    def _begin(self, what: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a machine's guest failed", exc_info=error)

    async def _boot(self, instance: Instance) -> None:
        server, host = await listen(self._config, instance.address, {"instance": instance})
        if instance.status is not Status.RUNNING or self._closed:
            server.close()
            return
        label = f"{instance.name}-{instance.id}"
        guest = _Guest(self._instances / label, self._records / f"{label}.json", server)
        self._guests[instance.id] = guest
        (guest.folder / "tmp").mkdir(parents=True)
        script = instance.metadata.get("startup-script")
        if script is not None:
            guest.process, guest.family = self._run(guest, script, host, self._consoles / f"{label}.log")

    def _run(self, guest: _Guest, script: str, host: str, console: Path) -> tuple["subprocess.Popen[bytes]", Family]:
        path = guest.folder / "startup-script"
        path.write_text(script)
        environment = {
            "PATH": f"{self._stand_ins}:{Path(sys.executable).parent}:{_SYSTEM_PATH}",
            "HOME": str(guest.folder),
            "TMPDIR": str(guest.folder / "tmp"),
            "LANG": "C.UTF-8",
            "GCE_METADATA_HOST": host,
            MARK: str(guest.folder),
        }
        if STACK_MARK in os.environ:
            environment[STACK_MARK] = os.environ[STACK_MARK]
        with console.open("ab") as output:
            process = subprocess.Popen(
                ["bash", str(path)],
                cwd=guest.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Until the machine is off nobody waits for the process, so that its number, by which the group is
        # signalled, is not given to another one.
        family = Family.of(process.pid, str(guest.folder))
        family.write(guest.record)
        return process, family

    async def _report_end(self, instance: Instance) -> None:
        """Tell the world as soon as a guest that was told to end has done so."""
        guest = self._guests.get(instance.id)
        while guest is not None and guest.family is not None and guest is self._guests.get(instance.id):
            if not guest.family.leader_lives() and not await asyncio.to_thread(guest.family.members):
                break
            await asyncio.sleep(_LOOK_EVERY)
        self._pace.world.guest_ended(instance, self._pace.clock.now())
        self._pace.changed()

    def _power_off(self, instance_id: int) -> None:
        """The group at once, and whatever got away from it right after."""
        guest = self._guests.pop(instance_id, None)
        if guest is None:
            return
        if guest.family is not None:
            guest.family.signal(signal.SIGKILL)
        self._begin(self._clear(guest))

    async def _clear(self, guest: _Guest) -> None:
        guest.server.close()
        await asyncio.to_thread(self._bury, guest)

    @staticmethod
    def _bury(guest: _Guest) -> None:
        if guest.family is not None:
            guest.family.end()
        if guest.process is not None:
            guest.process.wait()
        shutil.rmtree(guest.folder, ignore_errors=True)
        guest.record.unlink(missing_ok=True)

    async def close(self) -> None:
        """Switch all machines off."""
        self._closed = True
        for instance_id in list(self._guests):
            self._power_off(instance_id)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=True), _CLOSE_PATIENCE)
        if self._lock is not None:
            self._lock.close()
