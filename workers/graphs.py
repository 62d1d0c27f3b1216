"""A network compiled once for all sizes of tiles. What surrounds it is computed where it is: no array makes a detour
through Python between a file's pixels and a result's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers import runtime

Pictures = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ValueRange:
    """How a network wants its pictures and gives them back: from [0, 1] by a factor and a shift."""

    in_factor: float = 1.0
    in_shift: float = 0.0
    out_factor: float = 1.0
    out_shift: float = 0.0

    def enter(self, pictures: Any) -> Any:
        """From [0, 1] to what the network takes; of a tensor."""
        return _scaled(pictures, self.in_factor, self.in_shift)

    def leave(self, enlarged: Any) -> Any:
        """From what the network gives to [0, 1]; of a tensor."""
        return _scaled(enlarged, self.out_factor, self.out_shift)


#: The first one is what we assume unless another fits far better.
VALUE_RANGES = (
    ValueRange(),
    ValueRange(in_factor=255, out_factor=1 / 255),
    ValueRange(in_factor=255),
    ValueRange(out_factor=1 / 255),
    ValueRange(in_factor=2, in_shift=-1, out_factor=0.5, out_shift=0.5),
)


def _scaled(pictures: Any, factor: float, shift: float) -> Any:
    return pictures if (factor, shift) == (1.0, 0.0) else pictures * factor + shift


class NotNumbers(Exception):
    """The network gave NaN or infinite values."""


class Graph:
    """A Keras model of 1 or 3 channels as a function of pictures of 3 channels, (n, h, w, 3).

    A model of one channel enlarges red, green and blue one after the other: colour edges stay as sharp as grey ones,
    and grey stays grey. A model that must know the size is traced anew for each. `compiled` has XLA compile it, anew
    for each shape: faster on a GPU, slower on a CPU.
    """

    def __init__(self, model: Any, values: ValueRange, *, compiled: bool = False) -> None:
        self._tf = runtime.tensorflow()
        self._model = model
        self._values = values
        self._channels, self._dtype = model.inputs[0].shape[3], model.inputs[0].dtype
        self._compiled = compiled
        tf = self._tf
        self._for_all_sizes = True
        self._raw = self._function(self._enlarged, tf.float32)
        try:
            self._raw.get_concrete_function()
        except TypeError:  # a layer wants to know the size, such as bilinear upsampling
            self._for_all_sizes = False
            self._raw = self._function(self._enlarged, tf.float32)
        self._drawn = self._function(self._floats, tf.float32)
        # White is an argument: TensorFlow would replace a division by a constant by a less exact multiplication.
        white = tf.TensorSpec((), tf.float32)
        self._whole = {
            np.dtype(kind.as_numpy_dtype): self._function(self._pixels, kind, white) for kind in (tf.uint8, tf.uint16)
        }

    def raw(self, pictures: Pictures) -> Pictures:
        """Enlarge float32 in [0, 1], as it comes out of the network."""
        enlarged: Pictures = _array(self._raw(pictures))
        return enlarged

    def floats(self, pictures: Pictures) -> Pictures:
        """Enlarge float32 in [0, 1], clipped to that. Raises NotNumbers."""
        enlarged: Pictures = self._sound(self._drawn(pictures))
        return enlarged

    def pixels(self, pictures: Pixels) -> Pixels:
        """Enlarge uint8 or uint16, rounded to the same. Raises NotNumbers."""
        white = np.float32(np.iinfo(pictures.dtype).max)
        enlarged: Pixels = self._sound(self._whole[pictures.dtype](pictures, white))
        return enlarged

    def _function(self, body: Any, kind: Any, *further: Any) -> Any:
        tf = self._tf
        signature = [tf.TensorSpec((None, None, None, 3), kind), *further] if self._for_all_sizes else None
        return tf.function(body, signature, autograph=False, jit_compile=self._compiled or None)

    def _enlarged(self, pictures: Any) -> Any:
        tf = self._tf
        shape = tf.shape(pictures)
        if self._channels == 1:
            pictures = tf.reshape(tf.transpose(pictures, (0, 3, 1, 2)), (-1, shape[1], shape[2], 1))
        given = self._model(tf.cast(self._values.enter(pictures), self._dtype), training=False)
        enlarged = self._values.leave(tf.cast(given, tf.float32))
        if self._channels == 1:
            large = tf.shape(enlarged)
            enlarged = tf.transpose(tf.reshape(enlarged, (-1, 3, large[1], large[2])), (0, 2, 3, 1))
        return enlarged

    def _checked(self, enlarged: Any) -> tuple[Any, Any]:
        """Clipped to [0, 1], and whether all of it were numbers: else their sum is none."""
        tf = self._tf
        return tf.clip_by_value(enlarged, 0.0, 1.0), tf.math.is_finite(tf.reduce_sum(enlarged))

    def _floats(self, pictures: Any) -> tuple[Any, Any]:
        return self._checked(self._enlarged(pictures))

    def _pixels(self, pictures: Any, white: Any) -> tuple[Any, Any]:
        tf = self._tf
        enlarged, sound = self._checked(self._enlarged(tf.cast(pictures, tf.float32) / white))
        return tf.cast(enlarged * white + 0.5, pictures.dtype), sound

    def _sound(self, result: tuple[Any, Any]) -> Any:
        enlarged, sound = result
        if not sound.numpy():
            raise NotNumbers
        return _array(enlarged)


def _array(tensor: Any) -> Any:
    """What `numpy()` gives, without copying it where it is in the memory of the CPU already; not to be written to."""
    return np.asarray(memoryview(tensor))
