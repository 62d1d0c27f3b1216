"""Learns one batch at a time: the network in its training clothes, its optimiser, and what is exported."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from workers import runtime
from workers.training import network
from workers.training.crops import Picture
from workers.training.recipe import Recipe

keras, tf = runtime.keras(), runtime.tensorflow()


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
        # Not compiled, else TensorFlow would do this in bfloat16 too.
        enlarged: npt.NDArray[np.float32] = self.plain(pictures, training=False).numpy()
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
