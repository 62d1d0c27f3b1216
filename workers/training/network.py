"""Draws the network: a plain stack of small convolutions, which a CPU and a GPU both run fast."""

from typing import Any

from workers import runtime
from workers.training.recipe import Recipe

keras = runtime.keras_to_train_with()

#: Slope of the leaky ReLU below zero; a plain ReLU lets small nets die at the nearest-neighbour picture.
LEAK = 0.1


def build(recipe: Recipe, convolution: Any = keras.layers.Conv2D, **options: Any) -> Any:
    """RGB in [0, 1], any height and width -> the same picture `scale` times wider and higher.

    The network draws what is missing in the picture enlarged by repeating its pixels. All layers are Keras's
    own, so that `keras.saving.load_model` loads the file anywhere; `convolution` is replaced for training.
    """
    picture = features = keras.Input((None, None, 3), name="picture")
    for number in range(1, recipe.depth + 1):
        features = convolution(recipe.width, 3, padding="same", name=f"conv{number}", **options)(features)
        features = keras.layers.LeakyReLU(LEAK, name=f"leak{number}")(features)
    detail = convolution(3 * recipe.scale**2, 3, padding="same", name="detail", **options)(features)
    detail = keras.ops.depth_to_space(detail, recipe.scale)
    repeated = keras.layers.UpSampling2D(recipe.scale, interpolation="nearest", name="repeated")(picture)
    enlarged = keras.layers.Add(name="enlarged")([repeated, detail])
    return keras.Model(picture, enlarged, name=recipe.name.replace("-", "_"))


class Collapsible(keras.layers.Layer):  # type: ignore[misc, name-defined]  # Keras ships no types
    """A 3×3 convolution that is trained as a sum of branches, and is one convolution for ever after.

    The kernel is a free 3×3 kernel, plus a 3×3 kernel to `expansion` channels followed by a 1×1 kernel, plus
    the identity where the numbers of channels agree. The sum is made on the kernels and not on the pictures,
    so a step costs hardly more than a plain one (Bhardwaj et al., "Collapsible Linear Blocks for
    Super-Efficient Super Resolution", MLSys 2022).
    """

    def __init__(self, filters: int, kernel_size: int, padding: str, expansion: int, name: str) -> None:
        super().__init__(name=name)
        self.filters, self.kernel_size = filters, kernel_size
        self.padding, self.expansion = padding, expansion

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        side, channels = self.kernel_size, input_shape[-1]
        small = keras.initializers.VarianceScaling(0.1, "fan_in", "truncated_normal")
        self.direct = self.add_weight((side, side, channels, self.filters), small, name="direct")
        self.widen = self.add_weight((side, side, channels, self.expansion), small, name="widen")
        self.narrow = self.add_weight((self.expansion, self.filters), "glorot_uniform", name="narrow")
        self.bias = self.add_weight((self.filters,), "zeros", name="bias")
        self.is_square = channels == self.filters

    def kernel(self) -> Any:
        """The one kernel (side, side, channels, filters) that all branches add up to."""
        kernel = self.direct + keras.ops.matmul(self.widen, self.narrow)
        if self.is_square:
            margin = [self.kernel_size // 2] * 2
            kernel += keras.ops.pad(keras.ops.eye(self.filters)[None, None], [margin, margin, [0, 0], [0, 0]])
        return kernel

    def call(self, features: Any) -> Any:
        return keras.ops.conv(features, self.kernel(), padding=self.padding) + self.bias
