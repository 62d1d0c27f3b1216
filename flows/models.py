"""Which models the wish of a batch stands for. A model that somebody brings travels by the work store."""

from contextlib import suppress
from pathlib import Path

from infra.arrivals import Wish, WishError
from infra.settings import Settings
from workers.catalogue import (
    AUTO,
    BEST,
    FAST,
    SUFFIX,
    Catalogue,
    Lineup,
    ModelFile,
    NotShipped,
    common_checksum,
    file_checksum,
    means_auto,
    shipped,
)


def lineup_of(wish: Wish, settings: Settings, before: str = "", catalogue: Catalogue | None = None) -> Lineup:
    """The models that a wish stands for. Raises WishError when there is no such model, or none of that scale.

    Which tier `auto` means is decided here, by what is rented, and not on a machine: results must not depend on where
    an image happens to be enlarged. `before` is what the batch is remembered with: a later round takes the same tier.
    """
    known = shipped() if catalogue is None else catalogue
    if is_somebodys_own(wish.model):
        return _of_file(wish.model)
    if wish.model == AUTO and means_auto(before):
        with suppress(NotShipped):
            return known.lineup(before, wish.scale)
    try:
        return known.lineup(wish.model, wish.scale, BEST if settings.rents_gpus else FAST)
    except NotShipped as error:
        raise WishError(f"model = {wish.model[:100]!r}, scale = {wish.scale}: {error}") from error


def checksum_of(lineup: Lineup) -> str:
    """One sha256 for all files of a line-up. Raises WishError when one cannot be read."""
    try:
        return common_checksum(map(file_checksum, lineup.files))
    except OSError as error:
        raise WishError(f"model = {lineup.name!r} cannot be read: {error.strerror}.") from error


def is_somebodys_own(model: str) -> bool:
    """Whether a model is a file that somebody brings; machines fetch it from the work store."""
    return model.endswith(SUFFIX)


def _of_file(model: str) -> Lineup:
    try:
        path = Path(model).expanduser()
        if not path.is_file():
            raise WishError(f"model = {model[:100]!r}: there is no such file.")
    except (OSError, RuntimeError, ValueError) as error:
        raise WishError(f"model = {model[:100]!r} cannot be the path of a file: {error}.") from error
    return Lineup(model, ModelFile(path.stem, path))


def model_key(checksum: str) -> str:
    """Where a model that is not shipped lies in the work store, for the machines to fetch."""
    return f"models/{checksum}.keras"
