"""Trains a network by its recipe and writes it down as one plain .keras file."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from workers.training import network, score
from workers.training.checkpoint import restore, save
from workers.training.crops import Crops, Picture, cut_batch, load_crops
from workers.training.recipe import Recipe, TrainingError

#: Seconds between two reports: each scores the held-out crops, writes a line of the curve and a checkpoint.
REPORT_EVERY = 60.0


@dataclass(frozen=True)
class Progress:
    """One point of the training's curve, also written as a line of `curve.jsonl`."""

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


class Trainee:
    """The network in its training clothes, the optimiser, and the plain network that is exported.

    The weights of `plain` are the moving average of the folded kernels, so it can be exported at any step.
    """

    def __init__(self, recipe: Recipe) -> None:
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.plain = network.build(recipe)
        self.model = network.build(recipe, network.Collapsible, expansion=recipe.expansion)
        self.optimizer = keras.optimizers.Adam(recipe.learning_rate, beta_2=0.99)
        self.optimizer.build(self.model.trainable_variables)
        self.step = 0
        self.seconds = 0.0
        self._fold(keep=0.0)
        self._in_bfloat16 = False
        self._one_step = tf.function(self._train_on)
        self._enlarge = tf.function(self.plain, reduce_retracing=True)

    def variables(self) -> list[Any]:
        """Everything that changes while training."""
        return [*self.model.trainable_variables, *self.optimizer.variables, *self.plain.trainable_variables]

    def learn(self, small: Picture, large: Picture, done: float) -> Any:
        """Take one step on a batch (see `crops.cut_batch`) and return its loss."""
        self._choose_precision(done < self.recipe.bfloat16_until)
        self.optimizer.learning_rate = learning_rate(self.recipe, done)
        self.step += 1
        keep = min(self.recipe.average_decay, self.step / (self.step + 10))
        return self._one_step(small, large, tf.constant(keep, tf.float32))

    def enlarge(self, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Enlarge float32 (n, h, w, 3) in [0, 1] with the weights as they would be exported now."""
        enlarged: npt.NDArray[np.float32] = self._enlarge(pictures).numpy()
        return enlarged

    def _choose_precision(self, in_bfloat16: bool) -> None:
        if in_bfloat16 != self._in_bfloat16:
            self._in_bfloat16 = in_bfloat16
            options = {"auto_mixed_precision_onednn_bfloat16": in_bfloat16}
            tf.config.optimizer.set_experimental_options(options)
            self._one_step = tf.function(self._train_on)  # only a new graph takes up the option

    def _train_on(self, small: Any, large: Any, keep: Any) -> Any:
        small, large = (tf.cast(patches, tf.float32) / 255 for patches in (small, large))
        with tf.GradientTape() as tape:
            difference = self.model(small, training=True) - large
            luma = tf.tensordot(difference, tf.constant([0.299, 0.587, 0.114]), 1)
            loss = tf.reduce_mean(tf.abs(difference)) + self.recipe.luma_weight * tf.reduce_mean(tf.abs(luma))
        weights = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self._fold(keep)
        return loss

    def _fold(self, keep: Any) -> None:
        for layer in self.plain.layers:
            if isinstance(layer, keras.layers.Conv2D):
                branches = self.model.get_layer(layer.name)
                layer.kernel.assign(keep * layer.kernel + (1 - keep) * branches.kernel())
                layer.bias.assign(keep * layer.bias + (1 - keep) * branches.bias)


def learning_rate(recipe: Recipe, done: float) -> float:
    """Rise in a straight line, then fall along half a cosine to zero; `done` runs from 0 to 1."""
    if done < recipe.warm_up:
        return recipe.learning_rate * done / recipe.warm_up
    fall = min(1.0, (done - recipe.warm_up) / (1 - recipe.warm_up))
    return recipe.learning_rate * (1 + math.cos(math.pi * fall)) / 2


def train(
    recipe: Recipe,
    data: Path,
    into: Path,
    *,
    minutes: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train on the crops in `data`, write everything to the folder `into`, return the exported .keras file.

    With `minutes`, the training takes that long, however many steps that is; without, `recipe.steps` steps.
    An interrupted training goes on where its last checkpoint in `into` was, provided the recipe is the same.
    Raises TrainingError when there is nothing to train on or `into` cannot be used.
    """
    crops = load_crops(data, recipe)
    trainee = Trainee(recipe)
    try:
        into.mkdir(parents=True, exist_ok=True)
        restore(trainee, into)
        _work_off(trainee, crops, into, minutes, on_progress)
        exported = into / f"{recipe.name}.keras"
        trainee.plain.save(exported)
    except OSError as error:
        raise TrainingError(f"The training cannot write to {into}: {error.strerror}.") from error
    return exported


def _work_off(
    trainee: Trainee, crops: Crops, into: Path, minutes: float | None, on_progress: Callable[[Progress], None]
) -> None:
    """Take steps until the training is done; now and then a report, a line of the curve and a checkpoint."""
    reported, losses = (trainee.step, trainee.seconds), list[Any]()
    while (done := _done(trainee, minutes)) < 1:
        started = time.monotonic()
        losses.append(trainee.learn(*cut_batch(crops, trainee.recipe, trainee.step), done))
        trainee.seconds += time.monotonic() - started
        done = _done(trainee, minutes)
        if done < 1 and trainee.seconds - reported[1] < REPORT_EVERY:
            continue
        speed = (trainee.step - reported[0]) / (trainee.seconds - reported[1])
        progress = _progress(trainee, crops, done, float(np.mean(losses)), speed)
        with (into / "curve.jsonl").open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(asdict(progress)) + "\n")
        save(trainee, into)
        on_progress(progress)
        reported, losses = (trainee.step, trainee.seconds), []


def _done(trainee: Trainee, minutes: float | None) -> float:
    by_steps = trainee.step / trainee.recipe.steps
    return min(1.0, by_steps if minutes is None else trainee.seconds / (60 * minutes))


def _progress(trainee: Trainee, crops: Crops, done: float, loss: float, speed: float) -> Progress:
    scale = trainee.recipe.scale
    scores = [score.score(trainee.enlarge, pair.large, scale) for pair in crops.held_out]
    return Progress(
        step=trainee.step,
        done=round(done, 5),
        seconds=round(trainee.seconds, 1),
        loss=loss,
        held_out_psnr=float(np.mean(scores)) if scores else None,
        steps_per_second=speed,
        learning_rate=learning_rate(trainee.recipe, done),
    )
