"""Turns a .keras file into something that enlarges pictures, and says plainly why when it cannot."""

import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workers import probe, runtime
from workers.catalogue import Catalogue, ModelFile, NotShipped, file_checksum, lineup_of
from workers.devices import Portion, portion
from workers.graphs import VALUE_RANGES, Graph, NotNumbers, Pictures, Pixels, ValueRange
from workers.precision import VARIABLE, Precision, agree, here, lowered

log = logging.getLogger(__name__)


class ModelError(Exception):
    """This model cannot be used; the message is a sentence for the person who chose it."""


class Upscaler:
    """A loaded model. Same model, same tiles, same machine: same bytes. Any number of threads may call it."""

    name: str
    #: SHA-256 of the file, in hex.
    checksum: str
    #: How many times wider and higher the output is.
    scale: int
    #: Input pixels of context that the network needs on each side.
    halo: int
    #: What its convolutions compute in.
    precision: Precision
    #: How much its device likes to get at once.
    portion: Portion

    def __init__(self, name: str, checksum: str, model: Any, precision: Precision = Precision.FLOAT32) -> None:
        """Measure the model's value range, scale and halo; raises ModelError when it is not an upscaler.

        It is no more than wished that convolutions compute in `precision`: where the picture would change, they do not.
        """
        self.name, self.checksum = name, checksum
        _check_channels(model, name)
        plain = Graph(model, VALUE_RANGES[0])
        try:
            scale = probe.scale_of(plain.raw)
            if scale is None:
                raise ModelError(
                    f"The model {name} does not make pictures of any size a whole number of times (2 to 16) "
                    f"larger in both directions. A model that pads its convolutions ('same') does."
                )
            values = _find_range(plain, model)
            exact = plain if values == VALUE_RANGES[0] else Graph(model, values)
            halo = probe.halo_of(exact.raw, plain.raw, model, scale)
        except (runtime.tensorflow().errors.OpError, ValueError, TypeError) as error:
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
        self.portion = portion()
        self._exact = exact
        self._quick, self.precision = _quickened(exact, model, values, precision)

    def __call__(self, tiles: Pictures) -> Pictures:
        """Enlarge float32 (n, h, w, 3) in [0, 1] to (n, h * scale, w * scale, 3), clipped to [0, 1].

        A model of one channel enlarges red, green and blue one after the other: colour edges stay as
        sharp as grey ones, and grey stays grey. Raises ModelError when the model gives values that are not
        numbers, and MemoryError when the tiles do not fit into the memory of the GPU.
        """
        enlarged: Pictures = self._run(self._quick.floats, tiles)
        return enlarged

    def exact(self, tiles: Pictures) -> Pictures:
        """The same in float32 from end to end: for pictures of 16 bits, which show what half precision leaves out."""
        enlarged: Pictures = self._run(self._exact.floats, tiles)
        return enlarged

    def pixels(self, tiles: Pixels) -> Pixels:
        """The same for whole numbers from black to white, uint8 or uint16, rounded to the nearest; without a detour."""
        graph = self._quick if tiles.dtype == np.uint8 else self._exact
        enlarged: Pixels = self._run(graph.pixels, tiles)
        return enlarged

    def _run(self, graph: Callable[[Any], Any], tiles: Any) -> Any:
        try:
            return graph(tiles)
        except NotNumbers as error:
            raise ModelError(f"The model {self.name} gave values that are not numbers (NaN or infinite).") from error
        except runtime.tensorflow().errors.ResourceExhaustedError as error:
            raise MemoryError(f"Tiles of the shape {tiles.shape} do not fit.") from error


def _find_range(plain: Graph, model: Any) -> ValueRange:
    """The value range in which the model enlarges a grey ramp to a grey ramp."""
    assumed = VALUE_RANGES[0]
    unlikeness = {}
    with np.errstate(all="ignore"):
        unlikeness[assumed] = probe.unlikeness(plain.raw(probe.ramp()))
        if not unlikeness[assumed] > 0.05:
            return assumed
        for values in VALUE_RANGES[1:]:
            unlikeness[values] = probe.unlikeness(Graph(model, values).raw(probe.ramp()))
    best = min(VALUE_RANGES, key=lambda each: unlikeness[each])
    return best if 2 * unlikeness[best] < 0.05 else assumed


def _quickened(exact: Graph, model: Any, values: ValueRange, precision: Precision) -> tuple[Graph, Precision]:
    """The network in half precision where that draws the same picture, else as it is; and in what it computes."""
    quick = lowered(model, precision)
    if quick is not None:
        graph = Graph(quick, values, compiled=precision is Precision.FLOAT16)
        try:
            if agree(exact.raw, graph.raw):
                return graph, precision
        except (runtime.tensorflow().errors.OpError, ValueError, TypeError) as error:
            log.info("half precision is not to be had: %s", error)
    return exact, Precision.FLOAT32


def load(
    model: str,
    scale: int | None = None,
    catalogue: Catalogue | None = None,
    *,
    precision: Precision | None = None,
) -> Upscaler:
    """Load a shipped model by its name, or any other by the path of its .keras file.

    `scale` None: ×2 for a shipped model; for a file, what it is made for. For a name that stands for several models
    it is the one for images that are not compressed. For `precision` see `load_file`. The first call imports
    TensorFlow, which takes seconds. Raises ModelError with what is wrong and what to do.
    """
    try:
        file = lineup_of(model, scale, catalogue).plain
    except NotShipped as error:
        raise ModelError(str(error)) from error
    upscaler = load_file(file, precision)
    check_scale(upscaler, scale)
    return upscaler


def load_file(file: ModelFile, precision: Precision | None = None) -> Upscaler:
    """Load a model of which it is known where it lies. Raises ModelError.

    It computes in `precision` if that hardly changes pictures; None for what the environment variable
    SPOTLIFT_PRECISION says, or else what is the fastest here.
    """
    _check_ingredients(file.path)
    network = _deserialised(file.path)
    try:
        precision = precision or here()
    except ValueError as error:
        raise ModelError(f"{VARIABLE} is wrong: {error}") from error
    return Upscaler(file.name, file_checksum(file), network, precision)


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


def _check_channels(model: Any, name: str) -> None:
    """Raise ModelError when the network does not map picture to picture, with 1 or 3 channels."""
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
