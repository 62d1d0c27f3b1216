"""Turns a .keras file into something that enlarges pictures, and says plainly why when it cannot."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers import probe, runtime
from workers.catalogue import Catalogue, ModelFile, NotShipped, file_checksum, lineup_of

Pictures = npt.NDArray[np.float32]


class ModelError(Exception):
    """This model cannot be used; the message is a sentence for the person who chose it."""


@dataclass(frozen=True)
class ValueRange:
    """How a network wants its pictures and gives them back: from [0, 1] by a factor and a shift."""

    in_factor: float = 1.0
    in_shift: float = 0.0
    out_factor: float = 1.0
    out_shift: float = 0.0

    def enter(self, pictures: Pictures) -> Pictures:
        """From [0, 1] to what the network takes."""
        return pictures if self == VALUE_RANGES[0] else _scaled(pictures, self.in_factor, self.in_shift)

    def leave(self, enlarged: Pictures) -> Pictures:
        """From what the network gives to [0, 1]."""
        return enlarged if self == VALUE_RANGES[0] else _scaled(enlarged, self.out_factor, self.out_shift)


#: The first one is what we assume unless another fits far better.
VALUE_RANGES = (
    ValueRange(),
    ValueRange(in_factor=255, out_factor=1 / 255),
    ValueRange(in_factor=255),
    ValueRange(out_factor=1 / 255),
    ValueRange(in_factor=2, in_shift=-1, out_factor=0.5, out_shift=0.5),
)


def _scaled(pictures: Pictures, factor: float, shift: float) -> Pictures:
    return pictures * np.float32(factor) + np.float32(shift)


class Upscaler:
    """A loaded model. Same model, same tiles, same machine: same bytes."""

    name: str
    #: SHA-256 of the file, in hex.
    checksum: str
    #: How many times wider and higher the output is.
    scale: int
    #: Input pixels of context that the network needs on each side.
    halo: int

    def __init__(self, name: str, checksum: str, model: Any) -> None:
        """Measure the model's value range, scale and halo; raises ModelError when it is not an upscaler."""
        self.name, self.checksum = name, checksum
        self._channels = _checked_channels(model, name)
        self._graph = _graph(model)
        raw = partial(self._run, values=VALUE_RANGES[0])
        try:
            scale = probe.scale_of(raw)
            if scale is None:
                raise ModelError(
                    f"The model {name} does not make pictures of any size a whole number of times (2 to 16) "
                    f"larger in both directions. A model that pads its convolutions ('same') does."
                )
            self._range = self._find_range()
            halo = probe.halo_of(partial(self._run, values=self._range), raw, model, scale)
        except (runtime.tensorflow().errors.OpError, ValueError) as error:
            # TensorFlow tells the whole way to the error, indented, and then in one line what it was.
            reason = [line for line in str(error).splitlines() if line and not line[0].isspace()][-1]
            raise ModelError(
                f"The model {name} fails on a picture of 23×17 pixels; it must take any size. It says: {reason}"
            ) from error
        if halo is None:
            raise ModelError(
                f"In the model {name} a pixel depends on more than {probe.SIDES[-1] // 2} pixels around it, "
                f"so it cannot work on large pictures in tiles."
            )
        self.scale, self.halo = scale, halo

    def __call__(self, tiles: Pictures) -> Pictures:
        """Enlarge float32 (n, h, w, 3) in [0, 1] to (n, h * scale, w * scale, 3), clipped to [0, 1].

        A model of one channel enlarges red, green and blue one after the other: colour edges stay as
        sharp as grey ones, and grey stays grey. Raises ModelError when the model gives values that are not
        numbers, and MemoryError when the tiles do not fit into the memory of the GPU.
        """
        try:
            enlarged = self._run(tiles, self._range)
        except runtime.tensorflow().errors.ResourceExhaustedError as error:
            raise MemoryError(f"Tiles of the shape {tiles.shape} do not fit.") from error
        # NaN wins every comparison in min(), so two numbers tell about all of them.
        if not np.isfinite((enlarged.min(), enlarged.max())).all():
            raise ModelError(f"The model {self.name} gave values that are not numbers (NaN or infinite).")
        return np.clip(enlarged, 0, 1, out=enlarged)

    def _run(self, pictures: Pictures, values: ValueRange) -> Pictures:
        """Enlarge float32 (n, h, w, 3) in [0, 1], as it comes out of the network."""
        count, height, width, _ = pictures.shape
        if self._channels == 1:
            pictures = np.moveaxis(pictures, -1, 1).reshape(count * 3, height, width, 1)
        enlarged = values.leave(self._graph(values.enter(pictures)).numpy())
        if self._channels == 1:
            enlarged = np.moveaxis(enlarged.reshape(count, 3, *enlarged.shape[1:3]), 1, -1)
        return np.ascontiguousarray(enlarged)

    def _find_range(self) -> ValueRange:
        """The value range in which the model enlarges a grey ramp to a grey ramp."""
        unlikeness = {}
        for values in VALUE_RANGES:
            with np.errstate(all="ignore"):
                unlikeness[values] = probe.unlikeness(self._run(probe.ramp(), values))
        assumed, best = VALUE_RANGES[0], min(VALUE_RANGES, key=lambda each: unlikeness[each])
        return best if unlikeness[assumed] > 0.05 > 2 * unlikeness[best] else assumed


def load(model: str, scale: int | None = None, catalogue: Catalogue | None = None) -> Upscaler:
    """Load a shipped model by its name, or any other by the path of its .keras file.

    `scale` None: ×2 for a shipped model; for a file, what it is made for. For a name that stands for several models
    it is the one for images that are not compressed. The first call imports TensorFlow, which takes seconds. Raises
    ModelError with what is wrong and what to do.
    """
    try:
        file = lineup_of(model, scale, catalogue).plain
    except NotShipped as error:
        raise ModelError(str(error)) from error
    upscaler = load_file(file)
    check_scale(upscaler, scale)
    return upscaler


def load_file(file: ModelFile) -> Upscaler:
    """Load a model of which it is known where it lies. Raises ModelError."""
    _check_ingredients(file.path)
    return Upscaler(file.name, file_checksum(file), _deserialised(file.path))


def check_scale(upscaler: Upscaler, scale: int | None) -> None:
    """Raises ModelError when somebody wishes for another scale than the model is made for."""
    if scale not in (None, upscaler.scale):
        raise ModelError(f"The model {upscaler.name} enlarges ×{upscaler.scale} only, not ×{scale}.")


def _check_ingredients(path: Path) -> None:
    """Refuse a file whose network is made of more than Keras's own layers, before any of it is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ModelError(f"{path} is not a .keras file (Keras 3). Write one with model.save('NAME.keras').") from error
    for kind, module in _ingredients(config):
        if kind == "Lambda":
            raise ModelError(
                f"{path} holds a Lambda layer: code of its own, which is not run. Replace it by layers or "
                f"operations of Keras (keras.ops.depth_to_space, keras.layers.Rescaling …) and save it again."
            )
        if module.split(".")[0] not in ("keras", "builtins"):
            raise ModelError(
                f"{path} needs '{kind}', which is no part of Keras. Only Keras's own layers can be loaded."
            )


def _ingredients(config: Any) -> Iterator[tuple[str, str]]:
    """Class and module of every object in a Keras config; what a user registered has the user's package."""
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str) and "config" in config and "module" in config:
            registered = str(config.get("registered_name") or "")
            module = config["module"] or registered.partition(">")[0] or "builtins"
            yield config["class_name"], str(module)
        for value in config.values():
            yield from _ingredients(value)
    elif isinstance(config, list):
        for value in config:
            yield from _ingredients(value)


def _deserialised(path: Path) -> Any:
    try:
        keras = runtime.keras()
    except ImportError as error:
        raise ModelError(f"{error}. Install spotlift with its extra 'cpu' or 'gpu'.") from error
    runtime.tensorflow().config.experimental.enable_op_determinism()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a strange file may fail anywhere in Keras, with any error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{path} cannot be loaded by Keras {keras.__version__}: {reason}") from error


def _checked_channels(model: Any, name: str) -> int:
    """Channels in and out, 1 or 3; raises ModelError when the network does not map picture to picture."""
    if not getattr(model, "inputs", None):
        raise ModelError(f"The model {name} was saved before it was built. Start it with a keras.Input.")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            f"The model {name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; it must have "
            f"one of each."
        )
    taken, given = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if len(taken) != 4 or len(given) != 4:
        raise ModelError(
            f"The model {name} takes the shape {taken} and gives {given}, not pictures (n, height, width, channels)."
        )
    if taken[3] not in (1, 3) or given[3] != taken[3]:
        raise ModelError(
            f"The model {name} takes {taken[3]} and gives {given[3]} channels in the last axis; "
            f"it must be 3 (red, green, blue) or 1 (grey), the same in both."
        )
    if taken[1] is not None or taken[2] is not None or taken[0] is not None:
        raise ModelError(
            f"The model {name} takes only pictures of the shape {taken}; it must take any height and width: "
            f"build it with keras.Input((None, None, {taken[3]}))."
        )
    return int(taken[3])


def _graph(model: Any) -> Any:
    """One compiled function for all sizes, so that a new size of tile costs no tracing."""
    tf = runtime.tensorflow()
    channels, dtype = model.inputs[0].shape[3], model.inputs[0].dtype

    def enlarge(pictures: Any) -> Any:
        return tf.cast(model(tf.cast(pictures, dtype), training=False), tf.float32)

    return tf.function(enlarge, [tf.TensorSpec((None, None, None, channels), tf.float32)], autograph=False)
