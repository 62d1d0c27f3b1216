"""`spotlift enhance`: images here and now, in this process; no server, no ledger."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from flows.cli.talk import JsonOption, UserError, err, out, print_json
from flows.spans import clock
from workers.catalogue import AUTO, MODELS

A_LINE_EVERY = 10.0
"""Seconds between two lines in a pipe."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(enhance)


def enhance(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="An image, or a folder with images at any depth.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="A folder; for one image also a file name.")],
    model: Annotated[str, typer.Option(help=MODELS)] = AUTO,
    scale: Annotated[
        int | None, typer.Option(help="How many times larger. [default: 2, or what a .keras file is made for]")
    ] = None,
    output_format: Annotated[
        str | None, typer.Option("--format", help="png, jpeg, webp, tiff, bmp, gif. [default: as is]")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="What the network computes in: auto, float32, bfloat16, float16. [default: auto, the fastest]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Enhance again what is done already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Enlarge an image or a folder here and now.

    What is done already is skipped, so an interrupted run goes on where it was. No image stops the others: those
    that cannot be enhanced are listed at the end with the reason, and the exit code is 1 then.
    """
    todo, folder = _pairs(source, to, output_format)
    left = [pair for pair in todo if overwrite or not pair.is_done()]
    tally = Tally(total=len(left), skipped=len(todo) - len(left), bytes_total=sum(pair.bytes for pair in left))
    if left:
        # Without anything to enhance there is no need to wait for a model.
        models = _load(model, scale, precision) if any(pair.rejected is None for pair in left) else None
        _prepare(folder)
        _work_off(left, models, tally, quiet=as_json)
    if as_json:
        print_json(tally.as_dict())
    else:
        _print(tally, to)
    raise typer.Exit(1 if tally.rejected else 0)


@dataclass
class Tally:
    """What has become of the images so far."""

    total: int
    skipped: int
    bytes_total: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    bytes_done: int = 0
    megapixels: float = 0.0
    rejected: list[dict[str, str]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    """How many images each model has enlarged."""

    def add(self, ended: Any) -> None:
        self.bytes_done += ended.pair.bytes
        if ended.rejected is not None:
            reason, message = str(ended.rejected.reason), ended.rejected.message
            self.rejected.append({"name": ended.pair.name, "reason": reason, "message": message})
            return
        self.done += 1
        self.models[ended.model] += 1
        self.megapixels += ended.enhanced.out_width * ended.enhanced.out_height / 1e6
        if ended.enhanced.notes:
            self.notes.append({"name": ended.pair.name, "notes": list(ended.enhanced.notes)})

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    @property
    def speed(self) -> str:
        return f"{self.megapixels / self.seconds:.1f} MP/s"

    def line(self) -> str:
        ended = self.done + len(self.rejected)
        left = self.seconds * (self.bytes_total / self.bytes_done - 1) if self.bytes_done else None
        return f"{ended} of {self.total} images, {self.speed}" + (f", about {clock(left)} left" if left else "")

    def as_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "skipped": self.skipped,
            "rejected": self.rejected,
            "notes": self.notes,
            "models": dict(self.models),
            "seconds": round(self.seconds, 3),
            "output_megapixels": round(self.megapixels, 3),
        }


def _pairs(source: Path, to: Path, output_format: str | None) -> tuple[list[Any], Path]:
    """The images with the places of their results, and the folder that must be there for these."""
    from workers.folder import pair, pairs
    from workers.naming import format_of, output_names

    if not source.exists():
        raise UserError(f"{source} does not exist")
    source, to = source.absolute(), to.absolute()
    try:
        if source.is_dir():
            if to == source:
                raise UserError("SRC and OUT are the same folder: results would replace the images; name another OUT")
            if to.is_file():
                raise UserError(f"{to} is a file; for a folder of images OUT must be a folder")
            found = pairs(source, to, output_format)
            if not found:
                raise UserError(f"there is no image below {source}: names must end in png, jpg, webp, tif, bmp, gif …")
            return found, to
        is_file_name = format_of(to.name) is not None and not to.is_dir()
        target = to if is_file_name else to / output_names([source.name], output_format)[source.name]
        if target == source:
            raise UserError("the result would replace the image itself; name another OUT")
        return [pair(source.name, source, target)], target.parent
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _prepare(folder: Path) -> None:
    from workers.folder import prepare

    try:
        prepare(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written into: {error.strerror}; choose another OUT") from error


def _load(model: str, scale: int | None, precision: str | None) -> Any:
    from workers.choice import load_wished
    from workers.model import ModelError
    from workers.precision import wished

    with err.status("loading the model"):
        try:
            return load_wished(model, scale, precision=wished(precision))
        except (ModelError, ValueError) as error:
            raise UserError(str(error)) from error


def _work_off(todo: list[Any], models: Any, tally: Tally, *, quiet: bool) -> None:
    from workers.folder import enhance_all

    tally.began = time.monotonic()
    said = tally.began
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("", total=len(todo), speed="")
        try:
            for ended in enhance_all(todo, models):
                tally.add(ended)
                bar.update(task, advance=1, speed=tally.speed)
                if not (quiet or err.is_terminal) and time.monotonic() - said > A_LINE_EVERY:
                    err.print(tally.line())
                    said = time.monotonic()
        except KeyboardInterrupt:
            raise UserError(f"interrupted after {tally.line()}; the same command goes on from here", 130) from None
        except OSError as error:
            raise UserError(f"stopped after {tally.line()}: {error}; the same command goes on from here") from error


def _print(tally: Tally, to: Path) -> None:
    if tally.skipped:
        out.print(f"{tally.skipped} skipped: their results are there and not older (--overwrite does them again)")
    if tally.done:
        out.print(f"[green]{tally.done} enhanced[/green] in {tally.seconds:.1f} s ({tally.speed} of output), in {to}")
    if len(tally.models) > 1:
        out.print("models  " + ", ".join(f"{name}: {count}" for name, count in sorted(tally.models.items())))
    for note in tally.notes:
        out.print(f"{note['name']}: {' '.join(note['notes'])}", markup=False)
    if tally.rejected:
        out.print(f"[yellow]{len(tally.rejected)} rejected[/yellow]")
        for reject in tally.rejected:
            out.print(f"  {reject['name']}  {reject['reason']}: {reject['message']}", markup=False)
