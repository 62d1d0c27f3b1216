"""A real emulator for a test, in a process of its own and in a folder that the test gives it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.emulator.remote import Remote

QUICK: Mapping[str, float] = {
    "provisioning": 0.05,
    "staging": 0.05,
    "boot": 0.0,
    "stopping": 0.05,
    "grace": 2.0,
    "notice": 30.0,
}
"""Seconds that things take, unless the test says otherwise."""


@dataclass(frozen=True)
class Emulator:
    """One that runs. `remote` makes trouble."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def remote(self) -> Remote:
        return Remote(self.url)

    @property
    def certs_url(self) -> str:
        """Where the keys of its identity tokens are."""
        return f"{self.url}/oauth2/v1/certs"

    def log(self) -> str:
        return (self.folder / "emulator.log").read_text(errors="replace")

    def console(self, name: str) -> str:
        """What a machine, gone or not, has printed."""
        return "".join(it.read_text(errors="replace") for it in sorted(self.folder.glob(f"consoles/{name}-*.log")))


@contextmanager
def emulator(
    folder: Path, *, port: int = 0, processes: bool = True, script: Path | None = None, **times: float
) -> Iterator[Emulator]:
    """Call it with times that matter to the test: `emulator(tmp_path, boot=2.0)`; ends with all its machines."""
    running = start(folder, port=port, processes=processes, script=script, **times)
    try:
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(20)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


def start(
    folder: Path, *, port: int = 0, processes: bool = True, script: Path | None = None, **times: float
) -> Emulator:
    """The same, for tests that end it themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "emulator.json"
    address.unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.emulator", "--port", str(port), "--state", str(folder)]
    for name, seconds in {**QUICK, **times}.items():
        command += [f"--{name}", str(seconds)]
    command += [] if processes else ["--no-processes"]
    command += [] if script is None else ["--script", str(script)]
    with (folder / "emulator.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ.copy())
    until = time.monotonic() + 30
    while not address.exists():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise AssertionError(f"the emulator did not start: {(folder / 'emulator.log').read_text()}")
        time.sleep(0.02)
    running = Emulator(json.loads(address.read_text())["url"], process, folder)
    running.remote.await_answer()
    return running
