"""The command line, `spotlift`: one module per group of commands; this one puts them together."""

import sys

import typer

from flows.cli import batches, doctor, emulator, enhance, showing, stack, train
from flows.cli.talk import UserError, complain

app = typer.Typer(
    name="spotlift",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Enhance batches of images (super-resolution of drawings and photos) on machines that exist only while "
    "there is work.\n\nStart with [bold]spotlift enhance SRC OUT[/bold] (here and now, no server), or with "
    "[bold]spotlift up[/bold] and [bold]spotlift submit SRC --wait[/bold] (the whole pipeline).",
)
for module in (enhance, stack, batches, showing, doctor, train, emulator):
    module.add_to(app)


def main() -> None:
    """Run a command. A user's mistake ends with a sentence and exit code 2, an interrupt with 130."""
    try:
        app()
    except UserError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
