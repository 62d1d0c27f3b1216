"""One request of the compute API, taken apart: what all that answer it have in common."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.emulator import catalogue, complaints, pages
from infra.emulator.clock import Pace
from infra.emulator.complaints import Json
from infra.emulator.model import Operation
from infra.emulator.world import World

Answer = Json | bytes

ZONES: Final = [f"zones/{zone}" for zone in sorted(catalogue.ZONES)]
REGIONS: Final = [f"regions/{region}" for region in sorted(catalogue.REGIONS)]


@dataclass(frozen=True)
class Call:
    """One request: what it is about, and what it says."""

    pace: Pace
    consoles: Callable[[int], Path | None]
    """Where the serial console of an instance (by its id) is written to."""
    project: str
    parts: Mapping[str, str]
    """What stands in the path: `zone`, `instance`, …"""
    query: Mapping[str, str]
    body: Json
    now: float

    @property
    def world(self) -> World:
        return self.pace.world

    @property
    def request_id(self) -> str:
        return self.query.get("requestId", "")

    @property
    def zone(self) -> str:
        zone = self.parts["zone"]
        if zone not in catalogue.ZONES:
            raise complaints.invalid("zone", zone, "Unknown zone.")
        return zone

    @property
    def region(self) -> str:
        region = self.parts["region"]
        if region not in catalogue.REGIONS:
            raise complaints.invalid("region", region, "Unknown region.")
        return region

    @property
    def scope(self) -> str:
        if "zone" in self.parts:
            return f"zones/{self.zone}"
        return f"regions/{self.region}" if "region" in self.parts else "global"

    @property
    def name(self) -> str:
        return self.parts["name"]

    @property
    def ask(self) -> pages.Ask:
        return pages.Ask.of(self.query)

    def told(self, operation: Operation) -> Json:
        self.pace.changed()
        return operation.json(self.now)


Handler = Callable[[Call], Answer | Awaitable[Answer]]
