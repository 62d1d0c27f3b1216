"""Trains a network by its recipe, with a curve and checkpoints, and exports it as one plain .keras file."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.catalogue import WEIGHTS
from workers.training import score
from workers.training.checkpoint import restore, save
from workers.training.crops import Crops, cut_batch, load_crops
from workers.training.recipe import Recipe, TrainingError, read_recipe
from workers.training.trainee import Trainee, learning_rate

#: Seconds that one step counts at most.
_LONGEST_STEP = 20.0


@dataclass(frozen=True)
class Progress:
    """One point of the training's curve, also written as a line of `curve.jsonl`."""

    #: Name of the recipe that is followed.
    recipe: str
    step: int
    #: How much of the training is done, 0 to 1.
    done: float
    #: Seconds of training, those before an interruption included.
    seconds: float
    #: Mean loss since the last point.
    loss: float
    #: Mean luma PSNR in dB on the held-out crops, None when there are none.
    held_out_psnr: float | None
    steps_per_second: float
    learning_rate: float


def train(
    recipe: Recipe,
    data: Path,
    into: Path,
    *,
    minutes: float | None = None,
    report_every: float = 60.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train on the crops in `data`, write everything to the folder `into`, return the exported .keras file.

    With `minutes`, the training takes that long, however many steps that is; without, `recipe.steps` steps. If the
    recipe begins with another one whose weights are not shipped, that one is followed first, in a folder in `into`,
    and takes as long.
    Every `report_every` seconds the held-out crops are scored, and a line of `curve.jsonl` and a checkpoint
    are written. An interrupted training goes on at its last checkpoint, if the recipe is the same. Raises
    TrainingError when there is nothing to train on, `into` cannot be used, or the loss diverges.
    """
    begin = None
    if recipe.begins_with:
        begin = weights_named(recipe.begins_with)
        if begin is None:
            earlier = read_recipe(recipe.begins_with)
            begin = train(
                earlier, data, into / earlier.name, minutes=minutes, report_every=report_every, on_progress=on_progress
            )
    crops = load_crops(data, recipe)
    trainee = Trainee(recipe, begin)
    try:
        into.mkdir(parents=True, exist_ok=True)
        restore(trainee, into)
        for progress in _work_off(trainee, crops, minutes, report_every):
            with (into / "curve.jsonl").open("a", encoding="utf-8") as curve:
                curve.write(json.dumps(asdict(progress)) + "\n")
            save(trainee, into)
            on_progress(progress)
        exported = into / f"{recipe.name}.keras"
        trainee.fold()
        trainee.plain.save(exported)
    except OSError as error:
        raise TrainingError(f"The training cannot write to {into}: {error.strerror}.") from error
    return exported


def weights_named(name: str) -> Path | None:
    """The file of shipped weights or of a .keras file by its path; None for the name of a recipe without weights."""
    if name.endswith(".keras"):
        return Path(name)
    shipped = WEIGHTS / f"{name}.keras"
    return shipped if shipped.is_file() else None


def _work_off(trainee: Trainee, crops: Crops, minutes: float | None, report_every: float) -> Iterator[Progress]:
    """Take steps until the training is done, with a pause for each report, the last after the last step."""
    reported, losses = (trainee.step, trainee.seconds), list[Any]()
    while (done := _done(trainee, minutes)) < 1:
        started = time.monotonic()
        losses.append(trainee.learn(*cut_batch(crops, trainee.recipe, trainee.step), done))
        trainee.seconds += counted_seconds(time.monotonic() - started)
        done = _done(trainee, minutes)
        if done < 1 and trainee.seconds - reported[1] < report_every:
            continue
        speed = (trainee.step - reported[0]) / (trainee.seconds - reported[1])
        yield _progress(trainee, crops, done, _mean(losses), speed)
        reported, losses = (trainee.step, trainee.seconds), []


def counted_seconds(seconds: float) -> float:
    """How much of the training's time a step takes: a computer that was suspended has not trained meanwhile."""
    return min(seconds, _LONGEST_STEP)


def _mean(losses: list[Any]) -> float:
    mean = float(np.mean(losses))
    if not np.isfinite(mean):
        raise TrainingError("The training has diverged: the loss is no number. Lower the learning rate.")
    return mean


def _done(trainee: Trainee, minutes: float | None) -> float:
    by_steps = trainee.step / trainee.recipe.steps
    return min(1.0, by_steps if minutes is None else trainee.seconds / (60 * minutes))


def _progress(trainee: Trainee, crops: Crops, done: float, loss: float, speed: float) -> Progress:
    scale = trainee.recipe.scale
    scores = [score.score(trainee.enlarge, pair.large, scale) for pair in crops.held_out]
    return Progress(
        recipe=trainee.recipe.name,
        step=trainee.step,
        done=round(done, 5),
        seconds=round(trainee.seconds, 1),
        loss=loss,
        held_out_psnr=float(np.mean(scores)) if scores else None,
        steps_per_second=speed,
        learning_rate=learning_rate(trainee.recipe, done),
    )
