"""Models that tests make themselves: too small to enlarge well, and no two tiers alike."""

from pathlib import Path

from workers import runtime
from workers.catalogue import Catalogue


def write_model(path: Path, scale: int = 2, *, blurs: bool = False) -> Path:
    """A .keras file that repeats each pixel, and blurs the result if wished."""
    keras = runtime.keras()
    picture = keras.Input((None, None, 3))
    larger = keras.layers.UpSampling2D(scale)(picture)
    if blurs:
        larger = keras.layers.AveragePooling2D(3, strides=1, padding="same")(larger)
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.Model(picture, larger).save(path)
    return path


def tiers_with_variant(folder: Path) -> Catalogue:
    """`fast` at ×2 and ×4, and its variant for compressed images at ×2."""
    write_model(folder / "fast-x2.keras")
    write_model(folder / "fast-jpeg-x2.keras", blurs=True)
    write_model(folder / "fast-x4.keras", 4)
    return Catalogue.of(folder)
