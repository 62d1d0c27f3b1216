"""Which models travel with this package, and which of them a name stands for.

The files in `weights/` are the catalogue: `fast-x2.keras` is the tier `fast` at ×2, `fast-jpeg-x2.keras` its variant
for images that JPEG has compressed. A file that is added there can be wished for, and nothing else needs to know of it.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

WEIGHTS: Final = Path(__file__).parent / "weights"
SUFFIX: Final = ".keras"
AUTO: Final = "auto"
"""A name that leaves the tier to us, and to each image which variant of it fits."""
FAST: Final = "fast"
BEST: Final = "best"
USUAL_SCALE: Final = 2
MODELS: Final = "auto (the variant that fits each image), tiny, fast, best, or the path of a .keras file."
"""What may be wished for, in one line of help."""

_TIERS: Final = ("tiny", FAST, BEST)
"""In the order in which they are told of."""
_AUTO_TIERS: Final = (FAST, BEST, "tiny")
"""Where `auto` looks for a tier of the wished scale, the first one first."""
_AUTO_TIER: Final = f"{AUTO}-"
_FOR_JPEG: Final = "-jpeg"
_FILE_NAME: Final = re.compile(r"([a-z][a-z0-9]*(?:-jpeg)?)-x([2-8])\.keras")


class NotShipped(Exception):
    """There is no such model in the catalogue; a sentence that says which there are."""


@dataclass(frozen=True)
class ModelFile:
    """One model, before it is loaded."""

    name: str
    """What people call it: `fast`, `fast-jpeg`; of a file that somebody brings, its stem."""
    path: Path
    scale: int | None = None
    """How many times it enlarges; None: only loading it tells."""


@dataclass(frozen=True)
class Lineup:
    """The models that a wish stands for: one for all images, or a second one for those that are compressed."""

    name: str
    """What it is remembered as; the same name gives the same line-up as long as the same models are shipped."""
    plain: ModelFile
    for_jpeg: ModelFile | None = None

    @property
    def files(self) -> tuple[ModelFile, ...]:
        return (self.plain,) if self.for_jpeg is None else (self.plain, self.for_jpeg)


def file_checksum(model: ModelFile) -> str:
    """SHA-256 of the file in hex. Raises OSError."""
    return hashlib.sha256(model.path.read_bytes()).hexdigest()


def common_checksum(checksums: Iterable[str]) -> str:
    """One checksum that stands for those of a line-up, in its order; of a single one, itself."""
    first, *others = checksums
    return hashlib.sha256("\n".join((first, *others)).encode()).hexdigest() if others else first


@dataclass(frozen=True)
class Catalogue:
    """The models of a folder, by name and scale."""

    models: Mapping[tuple[str, int], ModelFile]

    @classmethod
    def of(cls, folder: Path) -> "Catalogue":
        """Whatever has the name of a model there; other files do not matter."""
        found = ((_FILE_NAME.fullmatch(path.name), path) for path in folder.glob(f"*{SUFFIX}"))
        models = [ModelFile(match[1], path, int(match[2])) for match, path in found if match]
        models.sort(key=lambda model: (_rank(model.name), model.name, model.scale))
        return cls({(model.name, model.scale or 0): model for model in models})

    def scales(self, name: str) -> tuple[int, ...]:
        """How many times larger the model of that name makes images, for each of its files; none: not shipped."""
        return tuple(scale for known, scale in self.models if known == name)

    def names(self) -> tuple[str, ...]:
        """The names that are shipped, at whatever scale."""
        return tuple(dict.fromkeys(name for name, _ in self.models))

    def knows(self, name: str) -> bool:
        """Whether the name means a model of ours, shipped or not, rather than the path of a file."""
        tier = name.removeprefix(_AUTO_TIER).removesuffix(_FOR_JPEG)
        return name == AUTO or tier in _TIERS or name in self.names()

    def lineup(self, name: str, scale: int = USUAL_SCALE, auto_tier: str = FAST) -> Lineup:
        """What a name stands for at that scale: `auto`, `auto-TIER`, or one model for all images.

        `auto` is `auto_tier` if that is shipped at the scale, else another tier that is. Raises NotShipped.
        """
        if name == AUTO:
            tiers = [tier for tier in (auto_tier, *_AUTO_TIERS) if (tier, scale) in self.models]
            if not tiers:
                raise NotShipped(f"No shipped model enlarges ×{scale}" + (f": {self.told()}." if self.models else "."))
            name = _AUTO_TIER + tiers[0]
        if name.startswith(_AUTO_TIER) and not name.endswith(_FOR_JPEG):
            tier = name.removeprefix(_AUTO_TIER)
            return Lineup(name, self._model(tier, scale, name), self.models.get((tier + _FOR_JPEG, scale)))
        return Lineup(name, self._model(name, scale, name))

    def some_scale(self, name: str) -> int | None:
        """A scale at which the name stands for something, ×2 if possible; None if there is none."""
        for scale in (USUAL_SCALE, *sorted({scale for _, scale in self.models})):
            with suppress(NotShipped):
                self.lineup(name, scale)
                return scale
        return None

    def told(self) -> str:
        """What there is, for people: "tiny enlarges ×2 only; fast enlarges ×2, ×4"."""
        return "; ".join(f"{name} {_enlarges(self.scales(name))}" for name in self.names())

    def _model(self, name: str, scale: int, wished: str) -> ModelFile:
        if (model := self.models.get((name, scale))) is not None:
            return model
        if scales := self.scales(name):
            raise NotShipped(f"The model {wished} {_enlarges(scales)}, not ×{scale}. Shipped: {self.told()}.")
        known = (AUTO, *self.names())
        close = get_close_matches(wished, known, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise NotShipped(
            f"There is no model '{wished[:100]}'{meant}. Shipped models: {', '.join(known)} ({self.told()}). "
            f"The path of a {SUFFIX} file works too."
        )


def means_auto(name: str) -> bool:
    """Whether a name is `auto` with the tier that it came to."""
    return name.startswith(_AUTO_TIER)


def shipped() -> Catalogue:
    """The models that travel with this package."""
    return Catalogue.of(WEIGHTS)


def lineup_of(
    model: str, scale: int | None = None, catalogue: Catalogue | None = None, auto_tier: str = FAST
) -> Lineup:
    """What a person asks for: a name of the catalogue (None: ours), or the path of somebody's own file.

    `scale` None: ×2 for a shipped model; for a file, what it is made for. Raises NotShipped.
    """
    catalogue = shipped() if catalogue is None else catalogue
    if not catalogue.knows(model) and _is_file(Path(model)):
        return lineup_of_file(Path(model))
    return catalogue.lineup(model, USUAL_SCALE if scale is None else scale, auto_tier)


def lineup_of_file(path: Path) -> Lineup:
    """One model that somebody brings, for all images."""
    return Lineup(str(path), ModelFile(path.stem, path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have, or a folder that may not be looked into
        return False


def _rank(name: str) -> int:
    tier = name.removesuffix(_FOR_JPEG)
    return _TIERS.index(tier) if tier in _TIERS else len(_TIERS)


def _enlarges(scales: tuple[int, ...]) -> str:
    return "enlarges " + ", ".join(f"×{scale}" for scale in scales) + (" only" if len(scales) == 1 else "")
