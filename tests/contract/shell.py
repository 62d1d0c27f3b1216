"""A user's shell in an empty folder, for tests of the command line that need no server."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.records import Ledger

SPOTLIFT = Path(sys.executable).with_name("spotlift")


@dataclass(frozen=True)
class Shell:
    """Commands run in `folder`; their state folder is `.spotlift` in it."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / ".spotlift"

    def __call__(self, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Call `spotlift` with a command's arguments, and with settings as environment variables."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("SPOTLIFT_", "PREFECT_"))}
        given = {f"SPOTLIFT_{name.upper()}": value for name, value in settings.items()}
        return subprocess.run(
            [str(SPOTLIFT), *map(str, arguments)],
            cwd=self.folder,
            env={**own, "COLUMNS": "200", **given},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def new_ledger(self) -> Ledger:
        """An empty ledger, as after an `up` and a `down`."""
        self.state.mkdir()
        ledger = Ledger(f"sqlite:///{self.state}/ledger.db")
        ledger.migrate()
        return ledger


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed for a user's mistake said; neither a traceback nor anything on stdout."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    return done.stderr
