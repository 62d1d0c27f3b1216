"""One life of a pool for tests of machines: authority, scheduler, registrar, and VMs with a metadata server each."""

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from distributed import Client

from infra.pool import certificates, dispatch
from infra.pool.certificates import Certificate
from infra.processes import Process, Processes
from tests.contract.machine.cloud import PROJECT, ZONE, Cloud, Signer
from tests.waiting import eventually

AUDIENCE = "spotlift-life-1"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.environ.get("HOME", "/"),
    "PYTHONUNBUFFERED": "1",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING": "false",  # what moves was handed back, not stolen
}


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# A signal ends bash's `wait`, not the process that it waits for.
_NOTING_ITS_EXIT_CODE = """
"$0" -m workers.machine & trap "kill -TERM $!" TERM
while wait $!; code=$?; kill -0 $! 2>&-; do :; done
echo $code >"$1"
"""


@dataclass
class Life:
    """A life whose processes are started when they are wanted. The folder is also where its work lies."""

    folder: Path
    signer: Signer
    stack: ExitStack
    scheduler: str = ""
    registrar: str = ""

    def __post_init__(self) -> None:
        certificates.make_authority(self.keys, datetime.now(UTC))
        members = ("scheduler", "registrar", "client")
        certificates.issue(self.keys, members, ("127.0.0.1", "localhost"), datetime.now(UTC))
        (self.folder / "expected").mkdir()
        self.keys_of_tokens = self.stack.enter_context(Cloud("nobody", self.signer, {}))

    @property
    def keys(self) -> Path:
        return self.folder / "certificates"

    @property
    def processes(self) -> Processes:
        return Processes(self.folder / "run", self.folder / "logs", str(self.folder))

    def start_scheduler(self) -> None:
        file = self.folder / "scheduler.json"
        keys = Certificate.of(self.keys, "scheduler")
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "tls://127.0.0.1", "--port", "0"]
        command += ["--no-dashboard", "--no-show", "--scheduler-file", str(file)]
        command += ["--tls-ca-file", str(keys.authority), "--tls-cert", str(keys.certificate)]
        self.processes.start("scheduler", [*command, "--tls-key", str(keys.key)], ENVIRONMENT)
        self.scheduler = self._address(file)

    def start_registrar(self, port: int = 0, certs_url: str = "") -> None:
        command = [sys.executable, "-m", "infra.pool.registrar", "--folder", str(self.folder), "--port", str(port)]
        command += ["--audience", AUDIENCE, "--project", PROJECT]
        command += ["--certs-url", certs_url or self.keys_of_tokens.certs_url]
        self.processes.start("registrar", command, ENVIRONMENT)
        self.registrar = self._address(self.folder / "registrar.json")

    def client(self) -> Client:
        return self.stack.enter_context(dispatch.connect(self.scheduler, Certificate.of(self.keys, "client")))

    def cloud(self, name: str, **attributes: str) -> Cloud:
        """The metadata server of a VM of that name, which the life expects."""
        (self.folder / "expected" / name).write_text(ZONE)
        return self.stack.enter_context(Cloud(name, self.signer, self.metadata(**attributes)))

    def metadata(self, **attributes: str) -> dict[str, str]:
        """What a VM of this life is told."""
        return {
            "spotlift-scheduler": self.scheduler,
            "spotlift-registrar": self.registrar,
            "spotlift-authority": (self.keys / "authority.pem").read_text(),
            "spotlift-audience": AUDIENCE,
            "spotlift-idle-limit": "60",
            **{f"spotlift-{key.replace('_', '-')}": value for key, value in attributes.items()},
        }

    def boot(self, cloud: Cloud) -> Process:
        """The VM's container, as the startup script runs it; its exit code is written down at the end."""
        command = ["bash", "-c", _NOTING_ITS_EXIT_CODE]
        return self.processes.start(
            cloud.name,
            [*command, sys.executable, str(self._exit(cloud.name))],
            {**ENVIRONMENT, "GCE_METADATA_HOST": cloud.host, "TMPDIR": str(self.folder)},
        )

    def exit_code(self, name: str, within: float = 30.0) -> int:
        """Of the VM's container, awaited."""
        file = self._exit(name)
        try:
            return int(eventually(f"{name} ends", lambda: file.exists() and file.read_text().strip(), within))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log(name)}") from None

    def log(self, name: str) -> str:
        return self.processes.tail(name, 1000)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.find(name)
        assert process is not None
        os.kill(process.pid, number)

    def close(self) -> None:
        self.stack.close()
        self.processes.stop([process.name for process in self.processes.all()], gently=5)

    def _exit(self, name: str) -> Path:
        return self.folder / f"{name}.exit"

    @staticmethod
    def _address(file: Path) -> str:
        def said() -> str:
            try:
                return str(json.loads(file.read_text())["address"])
            except (FileNotFoundError, ValueError):
                return ""

        return eventually(f"{file.name} says an address", said)
