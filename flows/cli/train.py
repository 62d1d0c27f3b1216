"""`spotlift train`: make a model from licensed images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.cli.talk import UserError, out
from flows.spans import clock


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(train)


def train(
    data: Annotated[Path, typer.Option(help="Folder with the crops to train on, in photo/ and art/.")],
    into: Annotated[Path, typer.Option(help="Folder for checkpoints, the curve and the model.")],
    tier: Annotated[str, typer.Option(help="tiny, fast or best: follow the recipe of this shipped model.")] = "fast",
    scale: Annotated[int, typer.Option(help="How many times wider and higher the model enlarges.")] = 2,
    jpeg: Annotated[bool, typer.Option("--jpeg", help="The variant for inputs that were compressed as JPEG.")] = False,
    recipe: Annotated[
        str | None, typer.Option(help="Another recipe, or the path of a TOML file, instead of a tier's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train that long. [default: the recipe's number of steps]")
    ] = None,
) -> None:
    """Train a model by its recipe. An interrupted training goes on where it was when started again."""
    from workers.training.recipe import TrainingError, read_recipe, recipe_for

    try:
        followed = read_recipe(recipe or recipe_for(tier, scale, jpeg=jpeg))
        from workers.training.trainer import Progress
        from workers.training.trainer import train as follow

        def show(progress: Progress) -> None:
            left = progress.seconds / progress.done - progress.seconds if progress.done else 0.0
            score = f", {progress.held_out_psnr:.2f} dB" if progress.held_out_psnr is not None else ""
            step = f"{progress.recipe}  step {progress.step}  {progress.done:.0%}"
            out.print(f"{step}  loss {progress.loss:.5f}{score}  about {clock(left)} left")

        exported = follow(followed, data, into, minutes=minutes, on_progress=show)
    except TrainingError as error:
        raise UserError(str(error)) from error
    shown = escape(str(exported))
    out.print(f"[green]{shown}[/green]: use it with --model {shown}")
