"""What one life of the pool is to be: the parameters of a `spot-pool` run, as its form in the UI shows them."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from infra.settings import Dollars, Seconds, Settings


class PoolPlan(BaseModel):
    """What to rent, how much of it, and for how much money."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine_type: str = Field(
        description="Machine type of Compute Engine.", examples=["g2-standard-4", "n1-standard-4"]
    )
    gpu: str | None = Field(
        None,
        description="GPU to attach. Empty: what the machine type brings.",
        examples=["nvidia-tesla-t4"],
    )
    gpus: int = Field(1, ge=1, le=16, description="How many of that GPU to attach.")
    zones: list[str] = Field(min_length=1, description="Zones to rent in; the best of them is tried first.")
    spot: bool = Field(True, description="Spot machines: cheap, and the cloud may take them back at any time.")
    machines: int = Field(ge=1, le=200, description="Machines at most.")
    least_machines: int = Field(1, ge=1, le=200, description="Machines to rent as soon as there is any work.")
    idle_window: Seconds | Literal["auto"] = Field(
        description="Seconds without work after which a machine is given back. auto: as long as booting takes."
    )
    boot_deadline: Seconds = Field(description="Seconds within which a machine must check in.")
    max_run: Seconds = Field(description="Seconds after which Compute Engine deletes a machine, whatever happens.")
    budget_per_hour: Dollars | None = Field(None, description="US dollars an hour that all machines may cost.")
    budget_per_day: Dollars | None = Field(None, description="US dollars that may be spent within 24 hours.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.least_machines > self.machines:
            raise ValueError(f"least_machines ({self.least_machines}) is more than machines ({self.machines})")
        return self

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        return cls(
            machine_type=settings.machine_type,
            gpu=settings.gpu,
            gpus=settings.gpus,
            zones=[zone.strip() for zone in settings.zones.split(",") if zone.strip()],
            spot=settings.spot,
            machines=settings.machines,
            least_machines=min(settings.least_machines, settings.machines),
            idle_window=settings.idle_window,
            boot_deadline=settings.boot_deadline,
            max_run=settings.max_run,
            budget_per_hour=settings.budget_per_hour,
            budget_per_day=settings.budget_per_day,
        )

    def idle(self, boot_seconds: float) -> timedelta:
        """The idle window: as set, or so long that keeping a machine costs what another boot would."""
        return timedelta(seconds=boot_seconds if self.idle_window == "auto" else self.idle_window)
