"""Half precision is taken where it is faster and draws the same picture; never where anybody would see it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from workers import precision
from workers.catalogue import shipped
from workers.model import ModelError, Upscaler, load, load_file
from workers.precision import Precision, agree, best, cpu_flags, lowered, wished

L = keras.layers


@pytest.mark.parametrize(
    ("gpus", "flags", "expected"),
    [
        (0, {"avx2"}, Precision.FLOAT32),
        (0, {"avx512f", "avx512_bf16"}, Precision.FLOAT32),
        (0, {"avx512_bf16", "amx_bf16"}, Precision.BFLOAT16),
        (2, {"amx_bf16"}, Precision.FLOAT16),
    ],
    ids=["old", "without AMX", "with AMX", "GPU"],
)
def test_the_fastest_is_known_by_the_hardware(gpus: int, flags: set[str], expected: Precision) -> None:
    assert best(gpus, flags) is expected


def test_the_cpu_is_asked_for_its_abilities(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nflags\t\t: fpu amx_bf16 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    )
    assert cpu_flags(tmp_path / "cpuinfo") == {"fpu", "amx_bf16", "avx512f"}
    assert cpu_flags(tmp_path / "nothing") == frozenset()


def test_a_person_may_wish_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [wished(text) for text in (None, "", "auto", "float32")] == [None, None, None, Precision.FLOAT32]
    with pytest.raises(ValueError, match="no precision 'int8'; there are auto, float32, bfloat16, float16"):
        wished("int8")
    monkeypatch.setenv(precision.VARIABLE, "float32")
    assert load("fast").precision is Precision.FLOAT32
    monkeypatch.setenv(precision.VARIABLE, "half")
    with pytest.raises(ModelError, match="SPOTLIFT_PRECISION is wrong: there is no precision 'half'"):
        load("fast")


@pytest.mark.parametrize("kind", [Precision.BFLOAT16, Precision.FLOAT16])
def test_the_shipped_models_bear_half_precision(kind: Precision) -> None:
    for file in shipped().models.values():
        half = lowered(keras.saving.load_model(file.path, compile=False), kind)
        assert half is not None
        assert {layer.compute_dtype for layer in half.layers if isinstance(layer, L.Conv2D)} == {str(kind)}
        assert {layer.compute_dtype for layer in half.layers if isinstance(layer, L.Add)} == {"float32"}
        assert load_file(file, kind).precision is kind, f"{file.path.name} would silently stay in float32"


def test_sixteen_bits_are_enlarged_in_full_precision() -> None:
    quick, exact = load("fast", precision=Precision.BFLOAT16), load("fast", precision=Precision.FLOAT32)
    assert (quick.precision, exact.precision) == (Precision.BFLOAT16, Precision.FLOAT32)
    pixels = np.random.default_rng(5).integers(0, 65536, (1, 30, 40, 3), dtype=np.uint16)
    np.testing.assert_array_equal(quick.pixels(pixels), exact.pixels(pixels))
    tiles = pixels.astype(np.float32) / 65535
    np.testing.assert_array_equal(quick.exact(tiles), exact(tiles))
    assert (quick(tiles) != exact(tiles)).any()


@pytest.mark.parametrize("kind", list(Precision))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_come_out_as_rounded_floats_do(kind: Precision, dtype: Any) -> None:
    upscaler = load("fast", precision=kind)
    white = np.float32(np.iinfo(dtype).max)
    pixels = np.random.default_rng(6).integers(0, int(white) + 1, (2, 33, 47, 3), dtype=dtype)
    floats = (upscaler if dtype is np.uint8 else upscaler.exact)(pixels.astype(np.float32) / white)
    np.testing.assert_array_equal(upscaler.pixels(pixels), (floats * white + np.float32(0.5)).astype(dtype))


def a_network(*layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input((None, None, 3)), *layers, L.UpSampling2D(2)])


def a_touchy_network() -> keras.Model:
    """It adds a thousand and takes it away again: in half precision the picture is lost meanwhile."""
    weights = np.zeros((3, 3, 3, 300), np.float32)
    weights[1, 1, range(3), range(3)] = 1
    back = np.zeros((1, 1, 300, 3), np.float32)
    back[0, 0, range(3), range(3)] = 1
    there, again = L.Conv2D(300, 3, padding="same"), L.Conv2D(3, 1)
    model = a_network(there, again)
    there.set_weights([weights, np.full(300, 1000, np.float32)])
    again.set_weights([back, np.full(3, -1000, np.float32)])
    return model


def an_overflowing_network() -> keras.Model:
    """It goes beyond what float16 can hold, which would come out as black, or as no number at all."""
    weights = np.zeros((3, 3, 3, 300), np.float32)
    weights[1, 1, range(3), range(3)] = 1e6
    back = np.zeros((1, 1, 300, 3), np.float32)
    back[0, 0, range(3), range(3)] = 1e-6
    there, again = L.Conv2D(300, 3, padding="same", use_bias=False), L.Conv2D(3, 1, use_bias=False)
    model = a_network(there, again)
    there.set_weights([weights])
    again.set_weights([back])
    return model


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (a_touchy_network, Precision.BFLOAT16),
        (a_touchy_network, Precision.FLOAT16),
        (an_overflowing_network, Precision.FLOAT16),
    ],
)
def test_a_network_that_does_not_bear_it_stays_exact(
    model: Callable[[], keras.Model], kind: Precision, tmp_path: Path
) -> None:
    model().save(tmp_path / "theirs.keras")
    upscaler = load(str(tmp_path / "theirs.keras"), precision=kind)
    assert upscaler.precision is Precision.FLOAT32
    tiles = np.random.default_rng(1).random((1, 8, 9, 3), np.float32)
    np.testing.assert_allclose(upscaler(tiles), tiles.repeat(2, axis=1).repeat(2, axis=2), atol=1e-3)


def test_a_small_network_gains_nothing_and_stays_exact() -> None:
    assert lowered(a_network(L.Conv2D(8, 3, padding="same")), Precision.BFLOAT16) is None
    assert Upscaler("small", "0" * 64, a_network(), Precision.BFLOAT16).precision is Precision.FLOAT32


def test_what_is_no_number_agrees_with_nothing() -> None:
    assert agree(lambda tiles: tiles, lambda tiles: tiles)
    assert agree(lambda tiles: tiles, lambda tiles: tiles + np.float32(1e-4))
    assert not agree(lambda tiles: tiles, lambda tiles: tiles + np.float32(1e-2))
    assert not agree(lambda tiles: tiles, lambda tiles: tiles * np.float32(np.nan))
    assert not agree(lambda tiles: tiles, lambda tiles: tiles * 0)
