"""The first process of a rented machine: it starts the members, watches, and ends when there is nothing to stay for.

While the members load the model it proves who the machine is and fetches the certificate that they wait for. Then it
listens for whatever may end its stay: the preemption notice, SIGTERM, the watchdog's verdict, members that die. It
imports neither TensorFlow nor Dask, so it is there at once and stays small. Its exit code says why it ended
(`watchdog.End`); what powers the VM off afterwards is `infra/machines/startup.sh`.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from workers.machine import enrolment
from workers.machine.metadata import Assignment, Metadata, NotThere
from workers.machine.watchdog import End, Sign, delay_after, verdict

log = logging.getLogger("spotlift.machine")

METADATA_PATIENCE = 60.0
"""Seconds in which the metadata server must have answered for the first time."""
NOTICE = "instance/preempted"
NOTICE_RETRY = 1.0
LOOK_EVERY = 0.5
AGAIN_AFTER = 1.0
"""Seconds after which a worker that lost its scheduler is started again."""
FRESH_AFTER = 3.0
"""The same for one that the scheduler let go: by then it has let go the others, too, if it wants none of them."""
LEAVE_PATIENCE = 120.0
"""Seconds that members may take to leave: no notice is longer."""


@dataclass
class Member:
    """A worker process: the name stays, processes may come and go."""

    name: str
    gpu: str | None
    process: "subprocess.Popen[bytes] | None" = None
    deaths: list[float] = field(default_factory=list)
    start_at: float | None = None
    """When it is to be started again; None: it is not."""


@dataclass(frozen=True)
class Told:
    """Somebody wants the machine to go."""

    why: str


@dataclass(frozen=True)
class Certified:
    """The registrar has signed."""

    certificate: str


@dataclass(frozen=True)
class NotCertified:
    """There is and will be no certificate."""

    end: End
    why: str


@dataclass(frozen=True)
class Died:
    """A process of a member has ended."""

    member: Member
    code: int


Event = Told | Certified | NotCertified | Died


class Supervisor:
    """One stay of this machine in a life of the pool. `folder` is its own, for key, certificate and signs."""

    def __init__(self, metadata: Metadata, assignment: Assignment, folder: Path) -> None:
        self.metadata = metadata
        self.assignment = assignment
        self.folder = folder
        self.began = time.monotonic()
        several = assignment.gpus > 1
        gpus = [str(gpu) for gpu in range(assignment.gpus)] if several else ["0" if assignment.gpus else None]
        self.members = [Member(name, gpu) for name, gpu in zip(assignment.members, gpus, strict=True)]
        self.end: End | None = None
        self._kill_at: float | None = None
        self._events: SimpleQueue[Event] = SimpleQueue()  # its put may be called by a signal handler at any point

    def run(self) -> End:
        """Stay until there is a reason to end, and end in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._events.put(Told(signal.Signals(number).name)))
        request = self._prepare()
        for member in self.members:
            self._start(member)
        self._watch(lambda: self._enrol(request))
        self._watch(self._await_notice)
        while any(member.process or member.start_at is not None for member in self.members):
            with suppress(Empty):
                self._hear(self._events.get(timeout=LOOK_EVERY))
            self._look(time.monotonic())
        return self.end if self.end is not None else End.GONE

    def _prepare(self) -> str:
        """Make the key and lay ready what members need; the request for a certificate."""
        key, request = enrolment.make_key(self.assignment.name)
        self._path("authority.pem").write_text(self.assignment.authority)
        with os.fdopen(os.open(self._path("machine.key"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(key)
        return request

    def _hear(self, event: Event) -> None:
        match event:
            case Told(why):
                self._leave(End.GONE, f"told to go ({why})")
            case Certified(certificate):
                draft = self._path("machine.draft")
                draft.write_text(certificate)
                draft.replace(self._path("machine.pem"))
                log.info("certified after %.1f s", time.monotonic() - self.began)
            case NotCertified(end, why):
                self._leave(end, why)
            case Died(member, code):
                member.process = None
                self._note_death(member, code)

    def _note_death(self, member: Member, code: int) -> None:
        now = time.monotonic()
        if self.end is not None:
            return
        if code == End.GONE:
            self._note_let_go(member, now)
        elif code == End.NO_SCHEDULER:
            log.info("%s has lost the scheduler and looks for it again", member.name)
            member.start_at = now + AGAIN_AFTER
        else:
            member.deaths.append(now)
            delay = delay_after(member.deaths, now)
            if delay is None:
                self._leave(End.BROKEN, f"{member.name} died {len(member.deaths)} times, the last time with {code}")
            else:
                log.warning("%s died (%d) and is started again in %.0f s", member.name, code, delay)
                member.start_at = now + delay

    def _note_let_go(self, member: Member, now: float) -> None:
        """The scheduler wants this process no more: as long as it keeps another one, in favour of a fresh one."""
        if any(other.process is not None for other in self.members):
            log.info("%s was let go by the scheduler and is started again, for others are not", member.name)
            member.start_at = now + FRESH_AFTER
        else:
            self._leave(End.GONE, f"{member.name}, the last of its workers, was let go by the scheduler")

    def _look(self, now: float) -> None:
        """Do what is due."""
        if self.end is None:
            signs = [sign for member in self.members if (sign := Sign.of(self._sign(member))) is not None]
            due = verdict(signs, self.began, self.assignment.idle_limit, now)
            if due is not None:
                lacking = "work" if due is End.GONE else "scheduler"
                self._leave(due, f"no {lacking} for {self.assignment.idle_limit:.0f} s")
        for member in self.members:
            if member.start_at is not None and now >= member.start_at:
                self._start(member)
        if self._kill_at is not None and now > self._kill_at:
            for member in self.members:
                if member.process is not None:
                    log.warning("%s does not leave and is ended", member.name)
                    member.process.kill()
            self._kill_at = None

    def _leave(self, end: End, why: str) -> None:
        """Have every member finish what it has in hand and go. The first reason counts."""
        if self.end is not None:
            return
        self.end = end
        self._kill_at = time.monotonic() + LEAVE_PATIENCE
        log.info("%s ends: %s", self.assignment.name, why)
        for member in self.members:
            member.start_at = None
            if member.process is not None:
                member.process.terminate()

    def _start(self, member: Member) -> None:
        member.start_at = None
        scratch = self._path(f"{member.name}.scratch")
        scratch.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "workers.machine.member", "--name", member.name]
        command += ["--scheduler", self.assignment.scheduler, "--authority", str(self._path("authority.pem"))]
        command += ["--certificate", str(self._path("machine.pem")), "--key", str(self._path("machine.key"))]
        command += ["--model", self.assignment.model, "--threads", str(self.assignment.threads)]
        command += ["--scratch", str(scratch), "--sign", str(self._sign(member))]
        command += ["--patience", str(self.assignment.idle_limit)]
        environment = {**os.environ, "TMPDIR": str(scratch)}
        if member.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = member.gpu
        process = member.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        self._watch(lambda: self._events.put(Died(member, process.wait())))

    def _enrol(self, request: str) -> None:
        patience = self.assignment.idle_limit
        try:
            self._events.put(Certified(enrolment.enrol(self.metadata, self.assignment, request, patience)))
        except enrolment.Refused as error:
            self._events.put(NotCertified(End.REFUSED, f"refused by the registrar: {error}"))
        except enrolment.NobodyAnswered as error:
            self._events.put(NotCertified(End.NO_SCHEDULER, str(error)))

    def _await_notice(self) -> None:
        """Tell of the preemption notice as soon as the cloud gives it."""
        etag = "0"
        while True:
            asked = time.monotonic()
            try:
                preempted, new = self.metadata.wait_for_change(NOTICE, etag)
            except (OSError, NotThere) as error:
                log.debug("no word about a preemption: %s", error)
                time.sleep(NOTICE_RETRY)
                continue
            if preempted.strip().upper() == "TRUE":
                self._events.put(Told("the machine is preempted"))
                return
            if new == etag and time.monotonic() - asked < NOTICE_RETRY:
                time.sleep(NOTICE_RETRY)  # a server that does not wait must not be asked without a pause
            etag = new

    @staticmethod
    def _watch(what: Callable[[], None]) -> None:
        """Let a thread wait for it that nobody needs to wait for."""
        threading.Thread(target=what, daemon=True).start()

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _sign(self, member: Member) -> Path:
        return self._path(f"{member.name}.sign")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    metadata = Metadata.here()
    try:
        assignment = Assignment.read_patiently(metadata, METADATA_PATIENCE)
    except (NotThere, ValueError, OSError) as error:
        log.error("this machine does not learn what it is for: %s", error)
        return End.NO_ASSIGNMENT
    with tempfile.TemporaryDirectory(prefix="spotlift-machine-", ignore_cleanup_errors=True) as folder:
        return Supervisor(metadata, assignment, Path(folder)).run()


if __name__ == "__main__":
    sys.exit(main())
