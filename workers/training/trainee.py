"""Learns one batch at a time: the network in its training clothes, its optimiser, and what is exported."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers import runtime
from workers.training import network
from workers.training.crops import Picture
from workers.training.recipe import Recipe, TrainingError

keras = runtime.keras_to_train_with()

#: Luma of red, green and blue by ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)

#: A mean squared error that is not worth learning from: 50 dB.
_HARDLY_ANY = 1e-5


class Trainee:
    """The network in its training clothes, the optimiser, and the plain network that is exported.

    `plain` gets the folded kernels of the moving average of the weights, so it can be exported at any step.
    """

    def __init__(self, recipe: Recipe, begin: Path | None = None) -> None:
        """A network with weights drawn by `recipe.seed`, or those of the .keras file `begin`."""
        keras.utils.set_random_seed(recipe.seed)
        self.recipe = recipe
        self.plain = network.build(recipe)
        self.model = network.build(recipe, network.Collapsible, expansion=recipe.expansion)
        if begin is not None:
            begin_with(self.model, _trained(begin), recipe.scale)
        self.optimizer = keras.optimizers.Adam(
            recipe.learning_rate, beta_2=0.99, use_ema=True, ema_momentum=recipe.average_decay
        )
        self.optimizer.build(self.model.trainable_variables)
        self.step = 0
        self.seconds = 0.0
        self._way: tuple[bool, bool] | None = None

    def variables(self) -> list[Any]:
        """Everything that changes while training."""
        return [*self.model.trainable_variables, *self.optimizer.variables]

    def learn(self, small: Picture, large: Picture, done: float) -> float:
        """Take one step on a batch (see `crops.cut_batch`) and return its loss."""
        self._choose_way(by_psnr=done >= self.recipe.psnr_from, in_bfloat16=done < self.recipe.bfloat16_until)
        self.optimizer.learning_rate = learning_rate(self.recipe, done)
        self.step += 1
        return float(self.model.train_on_batch(*(_in_unit_range(patches) for patches in (small, large))))

    def enlarge(self, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Enlarge float32 (n, h, w, 3) in [0, 1] with the weights as they would be exported now."""
        self.fold()
        # Called and not compiled: else TensorFlow would do this in bfloat16 too.
        return keras.ops.convert_to_numpy(self.plain(pictures, training=False))  # type: ignore[no-any-return]

    def fold(self) -> None:
        """Give the plain network the average of the weights, each layer folded into one kernel."""
        weights = self.model.trainable_variables
        now = [keras.ops.convert_to_numpy(weight) for weight in weights]
        if self.step:
            self.optimizer.finalize_variable_values(weights)
        for layer in self.plain.layers:
            if isinstance(layer, keras.layers.Conv2D):
                branches = self.model.get_layer(layer.name)
                layer.set_weights([keras.ops.convert_to_numpy(each) for each in (branches.kernel(), branches.bias)])
        for weight, value in zip(weights, now, strict=True):
            weight.assign(value)

    def _choose_way(self, *, by_psnr: bool, in_bfloat16: bool) -> None:
        """Compile a step, if the last one was of another kind."""
        if self._way == (by_psnr, in_bfloat16):
            return
        on_tensorflow = keras.backend.backend() == "tensorflow"
        if on_tensorflow:
            options = {"auto_mixed_precision_onednn_bfloat16": in_bfloat16}
            runtime.tensorflow().config.optimizer.set_experimental_options(options)
        # XLA makes TensorFlow slower on a CPU, and is all that JAX has.
        self.model.compile(self.optimizer, self._loss(by_psnr), jit_compile=not on_tensorflow)
        self._way = by_psnr, in_bfloat16

    def _loss(self, by_psnr: bool) -> Any:
        """Per patch: the mean absolute error of colours and luma, or the logarithm of the mean squared one.

        The mean PSNR of several pictures is a mean of such logarithms, in which an easy picture counts as much as a
        hard one; the squared error itself would leave the hard ones only.
        """
        ops = keras.ops
        size = ops.square if by_psnr else ops.abs

        def loss(large: Any, drawn: Any) -> Any:
            difference = drawn - large
            luma = ops.sum(difference * ops.convert_to_tensor(_LUMA, difference.dtype), axis=-1)
            of_luma = self.recipe.luma_weight * ops.mean(size(luma), axis=(1, 2))
            error = ops.mean(size(difference), axis=(1, 2, 3)) + of_luma
            return ops.log(error + _HARDLY_ANY) if by_psnr else error

        return loss


def _in_unit_range(patches: Picture) -> npt.NDArray[np.float32]:
    return patches.astype(np.float32) / np.float32(255)


def _trained(path: Path) -> Any:
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"The recipe begins with {path}, which cannot be loaded: {error}") from error


def begin_with(model: Any, trained: Any, scale: int) -> None:
    """Give a network in training clothes the kernels of a trained one, which may be narrower or less deep.

    Layers that the trained one lacks pass on what they get, nearly (Chen et al., "Net2Net", ICLR 2016), and channels
    that it lacks begin at random, with no say in the others. A network for another scale begins with the details
    that the trained one would draw, repeated.
    """
    for layer in trained.layers:
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        kernel, bias = layer.get_weights()
        if layer.name == "detail":
            kernel, bias = (_for_scale(each, scale) for each in (kernel, bias))
        branches = model.get_layer(layer.name)
        wanted = keras.ops.convert_to_numpy(branches.kernel()).copy()
        taken, given = kernel.shape[2:]
        if taken > wanted.shape[2] or given > wanted.shape[3]:
            raise TrainingError(f"The network to begin with is wider than the recipe says, in the layer {layer.name}.")
        wanted[:, :, taken:, :given] = 0
        wanted[:, :, :taken, :given] = kernel
        branches.direct.assign(branches.direct + wanted - branches.kernel())
        branches.bias.assign(np.concatenate([bias, np.zeros(wanted.shape[3] - given, np.float32)]))


def _for_scale(weights: Any, scale: int) -> Any:
    """The last axis, (own scale², 3) flattened, as nearest neighbours for another scale."""
    own = round((weights.shape[-1] // 3) ** 0.5)
    blocks = weights.reshape(*weights.shape[:-1], own, own, 3)
    nearest = np.arange(scale) * own // scale
    return blocks[..., nearest, :, :][..., nearest, :].reshape(*weights.shape[:-1], 3 * scale**2)


def learning_rate(recipe: Recipe, done: float) -> float:
    """Rise in a straight line, then fall along half a cosine to zero; `done` runs from 0 to 1."""
    if done < recipe.warm_up:
        return recipe.learning_rate * done / recipe.warm_up
    fall = min(1.0, (done - recipe.warm_up) / (1 - recipe.warm_up))
    return recipe.learning_rate * (1 + math.cos(math.pi * fall)) / 2
