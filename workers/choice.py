"""Which model enlarges which image: decided from the image's file alone, so that every machine decides the same."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from workers import colour
from workers.catalogue import FAST, Catalogue, Lineup, ModelFile, NotShipped, file_checksum, lineup_of
from workers.compression import quality_of
from workers.model import ModelError, Upscaler, check_scale, load_file
from workers.precision import Precision

COMPRESSED_UP_TO: Final = 91
"""The highest quality of a JPEG at which the variant for compressed images enlarges it. The variant learned from
qualities of 30 to 95; towards the upper end there is ever less to repair, and the plain model keeps more. Measured with
`fast`: at 90 the variant wins by 0.4 dB on Set5 and 0.3 on Art10, at 92 they are even, at 95 the plain one wins."""


def is_compressed(image: Path) -> bool:
    """Whether JPEG has taken so much from the image that the variant for such images pays.

    What was compressed, decoded and saved in another format, or saved again at a high quality, is not recognised.
    Raises OSError for what is no fault of the file, such as a disk that fails.
    """
    quality = quality_of(image)
    return quality is not None and quality <= COMPRESSED_UP_TO


@dataclass(frozen=True)
class Upscalers:
    """The loaded models of a line-up."""

    plain: Upscaler
    for_jpeg: Upscaler | None = None

    @property
    def all(self) -> tuple[Upscaler, ...]:
        return (self.plain,) if self.for_jpeg is None else (self.plain, self.for_jpeg)

    @property
    def checksums(self) -> tuple[str, ...]:
        return tuple(model.checksum for model in self.all)

    def upscaler_for(self, image: Path) -> Upscaler:
        """The model for the image in that file. Raises OSError for a disk that fails."""
        return self.plain if self.for_jpeg is None or not is_compressed(image) else self.for_jpeg


def load_lineup(lineup: Lineup, precision: Precision | None = None) -> Upscalers:
    """Load all models of a line-up, each once per process. Raises ModelError."""
    return Upscalers(*(_loaded(model, file_checksum(model), precision) for model in lineup.files))


def load_wished(
    model: str,
    scale: int | None = None,
    catalogue: Catalogue | None = None,
    auto_tier: str = FAST,
    precision: Precision | None = None,
) -> Upscalers:
    """Load what a person asks for: a name such as `auto`, or the path of a .keras file.

    `scale` None: ×2 for a shipped model; what it is made for, for a file. `precision`: see `load_file`. Raises
    ModelError.
    """
    try:
        models = load_lineup(lineup_of(model, scale, catalogue, auto_tier), precision)
    except NotShipped as error:
        raise ModelError(str(error)) from error
    except OSError as error:
        raise ModelError(f"The model {model} cannot be read: {error.strerror}.") from error
    check_scale(models.plain, scale)
    return models


@functools.lru_cache(maxsize=6)
def _loaded(
    model: ModelFile,
    checksum: str,  # noqa: ARG001 - so that a file that was replaced is loaded
    precision: Precision | None,
) -> Upscaler:
    return load_file(model, precision)


class NamedUpscaler(colour.Upscaler, Protocol):
    """One model, by whose name people are told what enlarged an image."""

    @property
    def name(self) -> str: ...


def upscaler_for(image: Path, among: NamedUpscaler | Upscalers) -> NamedUpscaler:
    """The one model, or the one of several that fits the image in that file."""
    return among.upscaler_for(image) if isinstance(among, Upscalers) else among
