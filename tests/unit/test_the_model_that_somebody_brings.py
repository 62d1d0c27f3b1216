"""Any .keras file that enlarges pictures is welcome; any other is refused with a sentence that helps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from workers.model import ModelError, Upscaler, load

L = keras.layers
Bring = Callable[[keras.Model], Upscaler]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Save a network as somebody would, and load it as we do."""

    def save_and_load(model: keras.Model) -> Upscaler:
        model.save(tmp_path / "theirs.keras")
        return load(str(tmp_path / "theirs.keras"))

    return save_and_load


def a_network(*layers: Any, channels: int = 3) -> keras.Model:
    return keras.Sequential([keras.Input((None, None, channels)), *layers])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).random(shape, np.float32)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_its_scale_is_found_by_running_it(bring: Bring, scale: int) -> None:
    upscaler = bring(a_network(L.UpSampling2D(scale)))
    assert (upscaler.name, upscaler.scale, upscaler.halo) == ("theirs", scale, 0)
    tiles = noise(2, 5, 7, 3)
    np.testing.assert_array_equal(upscaler(tiles), tiles.repeat(scale, axis=1).repeat(scale, axis=2))


@pytest.mark.parametrize(
    ("layers", "halo"),
    [
        ([L.Conv2D(4, 3, padding="same"), L.Conv2D(3, 5, padding="same")], 3),
        ([L.Conv2D(4, 3, dilation_rate=4, padding="same"), L.Conv2D(3, 1)], 4),
        ([L.DepthwiseConv2D(7, padding="same")], 3),
        ([L.Conv2D(4, 9, padding="same", kernel_initializer="zeros"), L.ReLU(), L.Conv2D(3, 1)], 4),
        ([L.Rescaling(2, -1), L.Conv2D(4, 3, padding="same"), L.ReLU(), L.Conv2D(3, 3, padding="same")], 2),
        ([L.Conv2D(3, 81, padding="same")], 40),
    ],
    ids=["two convolutions", "dilated", "depthwise", "dead", "shifted", "wide"],
)
def test_its_halo_is_as_far_as_its_layers_look(bring: Bring, layers: list[Any], halo: int) -> None:
    assert bring(a_network(*layers, L.UpSampling2D(2))).halo == halo


def test_one_that_must_know_the_size_is_welcome_too(bring: Bring) -> None:
    model = a_network(L.UpSampling2D(2, interpolation="bilinear"), L.Conv2D(3, 3, padding="same"))
    upscaler = bring(model)
    assert upscaler.scale == 2
    for shape in ((1, 9, 12, 3), (2, 7, 5, 3)):
        tiles = noise(*shape)
        np.testing.assert_allclose(upscaler(tiles), np.clip(model(tiles), 0, 1), atol=1e-5)
    assert upscaler.pixels((noise(1, 6, 8, 3) * 255).astype(np.uint8)).shape == (1, 12, 16, 3)


def test_it_draws_what_the_network_draws(bring: Bring) -> None:
    network = a_network(L.Conv2D(8, 3, padding="same", activation="relu"), L.Conv2D(3, 1), L.UpSampling2D(2))
    tiles = noise(2, 9, 11, 3)
    np.testing.assert_allclose(bring(network)(tiles), np.clip(network(tiles), 0, 1), atol=1e-6)


def test_a_tile_with_its_halo_is_as_in_the_whole_picture(bring: Bring) -> None:
    upscaler = bring(
        a_network(
            L.Conv2D(8, 3, padding="same", activation="relu"),
            L.Conv2DTranspose(3, 4, strides=2, padding="same"),
        )
    )
    picture, halo = noise(1, 40, 40, 3), upscaler.halo
    whole = upscaler(picture)[:, 32:48, 32:48]
    tile = upscaler(picture[:, 16 - halo : 24 + halo, 16 - halo : 24 + halo])
    np.testing.assert_allclose(tile[:, 2 * halo : -2 * halo, 2 * halo : -2 * halo], whole, atol=1e-6)


def a_network_that_looks_at_the_whole_picture(strength: float) -> keras.Model:
    picture = keras.Input((None, None, 3))
    mood = L.GlobalAveragePooling2D(keepdims=True)(picture)
    return keras.Model(picture, L.UpSampling2D(2)(picture + strength * mood))


def test_a_network_that_hardly_looks_beyond_a_tile_is_welcome(bring: Bring) -> None:
    assert bring(a_network_that_looks_at_the_whole_picture(1e-4)).halo == 0


def test_a_network_that_looks_at_the_whole_picture_is_refused(bring: Bring) -> None:
    with pytest.raises(ModelError, match="cannot work on large pictures in tiles"):
        bring(a_network_that_looks_at_the_whole_picture(0.5))


def test_a_grey_network_enlarges_each_colour(bring: Bring) -> None:
    tiles = noise(2, 6, 8, 3)
    enlarged = bring(a_network(L.UpSampling2D(2), channels=1))(tiles)
    np.testing.assert_array_equal(enlarged, tiles.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize(
    "layers",
    [
        [L.Rescaling(1 / 255), L.ReLU(max_value=1), L.Rescaling(255)],
        [L.Rescaling(1 / 255)],
        [L.Rescaling(255)],
        [L.Activation("tanh"), L.Rescaling(1.0)],
    ],
    ids=["0..255", "0..255 to 0..1", "0..1 to 0..255", "0..1"],
)
def test_its_value_range_is_found_by_running_it(bring: Bring, layers: list[Any]) -> None:
    upscaler = bring(a_network(*layers, L.UpSampling2D(2)))
    grey = np.full((1, 4, 4, 3), 0.4, np.float32)
    np.testing.assert_allclose(upscaler(grey), 0.4, atol=0.03)


def test_what_it_draws_stays_between_black_and_white(bring: Bring) -> None:
    enlarged = bring(a_network(L.Rescaling(1.6, -0.3), L.UpSampling2D(2)))(noise(1, 8, 8, 3))
    assert (enlarged.min(), enlarged.max()) == (0.0, 1.0)


def test_what_is_not_a_number_is_never_written_as_black(bring: Bring) -> None:
    picture = keras.Input((None, None, 3))
    upscaler = bring(keras.Model(picture, L.UpSampling2D(2)(picture / (2 - 2 * picture))))
    tiles = np.zeros((1, 4, 4, 3), np.float32)
    upscaler(tiles)
    tiles[0, 2, 2, 1] = 1
    with pytest.raises(ModelError, match="not numbers"):
        upscaler(tiles)


def a_network_for_even_sizes() -> keras.Model:
    picture = keras.Input((None, None, 3))
    there_and_back = L.UpSampling2D(2)(L.MaxPool2D(2)(picture))
    return keras.Model(picture, L.UpSampling2D(2)(picture + there_and_back))


@keras.saving.register_keras_serializable("their_package")
class TheirLayer(L.Layer):
    """Code that a machine does not have."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: a_network(L.Lambda(lambda x: x), L.UpSampling2D(2)), "Lambda layer"),
        (lambda: a_network(TheirLayer(), L.UpSampling2D(2)), "'TheirLayer', which is no part of Keras"),
        (lambda: keras.Sequential([keras.Input((8,)), L.Dense(8)]), "not pictures"),
        (lambda: a_network(L.UpSampling2D(2), channels=4), "takes 4 and gives 4 channels"),
        (lambda: a_network(L.UpSampling2D(2), L.Conv2D(1, 1)), "takes 3 and gives 1 channels"),
        (lambda: keras.Sequential([L.UpSampling2D(2)]), "before it was built"),
        (a_network_for_even_sizes, "must take any size. It says: Incompatible shapes"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), L.UpSampling2D(2)]), "any height and width"),
        (lambda: a_network(L.Conv2D(3, 3, padding="same")), "a whole number of times"),
        (lambda: a_network(L.UpSampling2D(2), L.Conv2D(3, 3)), "a whole number of times"),
        (lambda: a_network(L.UpSampling2D((2, 3))), "a whole number of times"),
        (lambda: a_network(L.UpSampling2D(4), L.MaxPool2D(8, padding="same")), "a whole number of times"),
    ],
    ids=[
        "lambda",
        "custom",
        "dense",
        "rgba",
        "grey out",
        "unbuilt",
        "even",
        "fixed",
        "same size",
        "cut",
        "stretched",
        "smaller",
    ],
)
def test_a_wrong_one_is_refused_with_the_reason(bring: Bring, model: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        bring(model())


def test_two_inputs_are_refused(bring: Bring) -> None:
    pictures = [keras.Input((None, None, 3)), keras.Input((None, None, 3))]
    with pytest.raises(ModelError, match="2 inputs and 1 outputs"):
        bring(keras.Model(pictures, L.UpSampling2D(2)(pictures[0] + pictures[1])))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ModelError, match=r"no model 'fats' \(did you mean fast\?\)\. Shipped models: auto, .*fast.*The path"
    ):
        load("fats")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a network")
    with pytest.raises(ModelError, match=r"notes.txt is not a .keras file"):
        load(str(tmp_path / "notes.txt"))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    a_network(L.UpSampling2D(2)).save(tmp_path / "whole.keras")
    (tmp_path / "half.keras").write_bytes((tmp_path / "whole.keras").read_bytes()[:-300])
    with pytest.raises(ModelError, match=r"is not a .keras file"):
        load(str(tmp_path / "half.keras"))
