"""What a machine costs per hour, from one file that says where its figures come from and that anybody may replace."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.machines.orders import region_of
from infra.machines.spec import Gpu

SHIPPED: Final = Path(__file__).with_name("prices.toml")
"""The prices that come with Spotlift; the file's head tells the rules."""

_SIZED = re.compile(r"(?P<series>.+-)(?P<size>[1-9]\d*)(?P<unit>g?)")

Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PricesError(Exception):
    """The price file cannot be used; the message names the file, the place in it and what is wrong."""


@dataclass(frozen=True)
class Price:
    """US dollars per hour for one machine with its GPUs."""

    spot: float
    on_demand: float
    estimated: bool
    """Whether a part of it is not listed for that region, and the dearest known region stands in for it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listed(_Strict):
    """What is known of one region."""

    spot: Dollars | None = None
    on_demand: Dollars | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.spot is not None and self.on_demand is not None and self.spot > self.on_demand:
            raise ValueError("spot costs more than on demand, so one of the two belongs to something else")
        return self


class Kind(_Strict):
    """The prices of one GPU, or of one host without its GPUs."""

    regions: Mapping[str, Listed]
    always_with_gpus: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for what in ("spot", "on_demand"):
            if all(getattr(listed, what) is None for listed in self.regions.values()):
                raise ValueError(f"no region has a price for {what}; at least one must")
        return self

    def in_region(self, region: str) -> Price:
        """As listed, or as in the dearest known region."""
        listed = self.regions.get(region, Listed())
        spot = listed.spot or max(it.spot for it in self.regions.values() if it.spot)
        on_demand = listed.on_demand or max(it.on_demand for it in self.regions.values() if it.on_demand)
        return Price(spot, on_demand, estimated=listed.spot is None or listed.on_demand is None)


class Prices(_Strict):
    """The whole file."""

    source: str
    as_of: str
    currency: str = Field(pattern="^USD$")
    gpus: Mapping[str, Kind] = {}
    hosts: Mapping[str, Kind] = {}


def read_prices(path: Path | None = None) -> Prices:
    """The prices of a file, None for those that come with Spotlift. Raises PricesError."""
    file = path or SHIPPED
    try:
        return Prices.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        places = [(".".join(map(str, it["loc"])), it["msg"].removeprefix("Value error, ")) for it in error.errors()]
        wrong = "; ".join(f"{place}: {message}" for place, message in places)
        raise PricesError(f"The price file {file} cannot be used. {wrong}. {SHIPPED} shows how it looks.") from error
    except (OSError, ValueError) as error:
        raise PricesError(f"The price file {file} cannot be read: {error}") from error


def price_of(machine_type: str, gpu: Gpu | None, zone: str, prices: Prices) -> Price | None:
    """What such a machine costs per hour in that zone; None if the file does not know its host or its GPU.

    `gpu`: those that it has, whether they are attached or come with the machine type.
    """
    region = region_of(zone)
    host = _host(machine_type, prices)
    if host is None:
        return None
    kind, size = host
    base = kind.in_region(region)
    if gpu is None:
        return None if kind.always_with_gpus else Price(base.spot * size, base.on_demand * size, base.estimated)
    if gpu.type not in prices.gpus:
        return None
    card = prices.gpus[gpu.type].in_region(region)
    return Price(
        base.spot * size + card.spot * gpu.count,
        base.on_demand * size + card.on_demand * gpu.count,
        base.estimated or card.estimated,
    )


def _host(machine_type: str, prices: Prices) -> tuple[Kind, float] | None:
    """The listed host of the same series, and how many times its size the machine is."""
    wanted = _SIZED.fullmatch(machine_type)
    for name, kind in prices.hosts.items():
        if name == machine_type:
            return kind, 1.0
        listed = _SIZED.fullmatch(name)
        if wanted and listed and wanted["series"] == listed["series"] and wanted["unit"] == listed["unit"]:
            return kind, int(wanted["size"]) / int(listed["size"])
    return None
