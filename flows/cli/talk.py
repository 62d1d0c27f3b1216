"""How commands talk to people: where to print, how errors look, and the error types that need no traceback."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

P = ParamSpec("P")
R = TypeVar("R")

# In a pipe a table is as wide as it likes: whoever reads it there cuts it as it likes.
# No emoji either: a file may be called `a:cat:.png`.
out = Console(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 500)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="State folder of the stack. [default: SPOTLIFT_STATE or .spotlift]"),
]


class UserError(Exception):
    """Something that the user can mend; its message says how."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def complain(message: str) -> None:
    """An error on stderr, in one sentence and without a traceback."""
    err.print("[bold red]error:[/bold red]", end=" ")
    err.print(message, markup=False)


def print_json(value: Any) -> None:
    """JSON on stdout, never wrapped or coloured; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def expanded(path: Path) -> Path:
    """The path with `~` replaced. Raises UserError where there is no such home."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such home folder; write the path out") from error


@contextmanager
def plainly() -> Iterator[None]:
    """Turn the errors that our own parts raise for a user's mistake, or for something missing, into a UserError."""
    # Imported here, so that `spotlift enhance` needs neither Prefect nor a database.
    from flows.runs import ServerUnreachable
    from infra.arrivals import ArrivalError
    from infra.machines.errors import CloudError
    from infra.processes import ProcessDied
    from infra.records import IllegalMove, LedgerError
    from infra.settings import SettingsError
    from infra.stack import StackError
    from infra.storage import StorageError
    from infra.takedown import StillThere

    try:
        yield
    except (
        ArrivalError, CloudError, IllegalMove, LedgerError, ProcessDied, ServerUnreachable, SettingsError, StackError,
        StillThere, StorageError,
    ) as error:  # fmt: skip
        raise UserError(str(error)) from error
    except OSError as error:
        if error.filename is None:  # not about a file, so not for the user to mend
            raise
        raise UserError(f"{error.filename}: {error.strerror}") from error


def plain(command: Callable[P, R]) -> Callable[P, R]:
    """Decorator: the command's own errors become sentences."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with plainly():
            return command(*args, **kwargs)

    return wrapped
