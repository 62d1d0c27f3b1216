"""Everything a person may set, read once and passed on as values.

Sources, the stronger first: arguments, environment variables (`SPOTLIFT_…`), the file `spotlift.toml` in the
current folder, the defaults below. Processes that Spotlift starts get their settings through the environment
(`Settings.environment`), so a child never reads another file than its parent did.
"""

import os
import re
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

TOML = "spotlift.toml"
PREFIX = "SPOTLIFT_"

_MODEL_SUFFIX = ".keras"
_RELATIVE_SQLITE = re.compile(r"(sqlite:///)([^/:?][^?]*)(.*)")
_USER_AND_PASSWORD = re.compile(r"(://[^:/@]*:).*@")
_PASSWORD_OPTION = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)

Seconds = Annotated[float, Field(gt=0, le=1e8, allow_inf_nan=False)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Cloud = Literal["emulator", "google"]

_LOCAL_PROJECT = "spotlift-local"
_LOCALHOST = "127.0.0.1"
_LOCAL_POOL = "spotlift"
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")
_WITH_GPUS = re.compile(r"[ag][0-9]")
"""Machine types that bring GPUs of their own: the families A and G of Compute Engine."""
_LABEL = r"^[a-z][-_a-z0-9]{0,62}$"
_ZONES = "us-central1-a,us-central1-b,us-east1-b,us-east4-a,us-west1-a"
"""Zones with L4 GPUs in four regions; those that do not offer the machine type are passed over."""
_BOOT_IMAGE = "projects/deeplearning-platform-release/global/images/family/common-cu128-ubuntu-2204-nvidia-570"


class SettingsError(Exception):
    """The settings cannot be used; the message names each wrong one, where it comes from and what is allowed."""


class Settings(BaseSettings):
    """What one controller and its pool are told. Immutable: build it once with `read_settings`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    # Where things are
    state: Path = Field(Path(".spotlift"), description="folder that holds everything a local stack writes")
    inbox: Path | None = Field(None, description="folder that is watched for batches [STATE/inbox]")
    outbox: Path | None = Field(None, description="folder that results are published to [STATE/outbox]")
    ledger: str | None = Field(None, description="database URL, sqlite or postgresql+psycopg [STATE/ledger.db]")

    # The Prefect server of the local stack
    host: str = Field("127.0.0.1", description="address that the Prefect server listens on")
    port: int = Field(4200, ge=1, le=65535, description="port of the Prefect server and its UI")

    # Watching
    quiet: Seconds = Field(3.0, description="seconds without a change after which a folder counts as complete")
    look_every: Seconds = Field(1.0, description="seconds between two looks into the inbox")

    # The cloud
    cloud: Cloud = Field("emulator", description="where machines are rented: emulator (this computer) or google")
    project: str = Field(
        _LOCAL_PROJECT, validate_default=True, description="Google Cloud project that machines are rented in"
    )
    emulator_port: int = Field(4201, ge=1, le=65535, description="port of the emulator of Compute Engine")
    pool: str = Field(
        _LOCAL_POOL,
        pattern=_LABEL,
        validate_default=True,
        description="label of our machines; one per controller in a project",
    )
    controller: str = Field(
        _LOCALHOST, validate_default=True, description="address under which machines reach this computer"
    )
    scheduler_port: int | None = Field(None, ge=1, le=65535, description="port of the pool's scheduler [any free one]")
    registrar_port: int | None = Field(None, ge=1, le=65535, description="port of the pool's registrar [any free one]")
    prices: Path | None = Field(None, description="price list to use instead of the shipped one")

    # A machine
    machine_type: str = Field("g2-standard-4", description="machine type of Compute Engine")
    gpu: str | None = Field(None, description="GPU to attach [what the machine type brings]")
    gpus: int = Field(1, ge=1, le=16, description="how many of that GPU to attach")
    zones: str = Field(_ZONES, description="zones to rent in, separated by commas")
    spot: bool = Field(True, description="rent spot machines; false: on demand")
    notice: bool = Field(True, description="order spot machines with two minutes of notice before a preemption")
    boot_image: str = Field(_BOOT_IMAGE, description="boot image, of a family or a single one")
    worker_image: str | None = Field(None, description="container image [worker:VERSION in the project's registry]")
    network: str = Field("global/networks/default", description="network of the machines")
    subnetwork: str | None = Field(None, description="subnetwork of the machines")
    external_address: bool = Field(False, description="give machines an external address")
    service_account: str | None = Field(
        None, description="e-mail of the account that machines act as [spotlift-worker of the project]"
    )
    max_run: Seconds = Field(43_200.0, description="seconds after which the cloud deletes a machine, whatever happens")
    machine_threads: int | None = Field(None, ge=1, description="TensorFlow threads each [emulator: cores ÷ machines]")

    # The pool
    machines: int = Field(2, ge=1, le=200, description="machines at most")
    least_machines: int = Field(1, ge=1, le=200, description="machines to rent as soon as there is work")
    idle_window: Seconds | Literal["auto"] = Field(
        300.0, description="seconds without work after which a machine is given back; auto: as long as booting takes"
    )
    boot_deadline: Seconds = Field(600.0, description="seconds within which a machine must check in")
    stockout_pause: Seconds = Field(30.0, description="seconds after a stockout; doubled with each further one")
    budget_per_hour: Dollars | None = Field(None, description="US dollars an hour that machines may cost together")
    budget_per_day: Dollars | None = Field(None, description="US dollars that may be spent within 24 hours")

    # The work
    model: str = Field("auto", description="model of batches that name none: auto, tiny, fast, best or a .keras file")
    chunk_seconds: Seconds = Field(15.0, description="work in one chunk, the unit of dispatch")
    capacity_deadline: Seconds = Field(1500.0, description="seconds a batch waits for a machine before it gives up")
    image_deadline: Seconds = Field(600.0, description="seconds that one image may take at most")
    attempts: int = Field(20, ge=1, description="attempts per chunk; lost machines use them up")
    restarts: int = Field(5, ge=0, description="times that a batch whose run died is started again by itself")

    @field_validator("state", "inbox", "outbox", "prices")
    @classmethod
    def _resolved(cls, path: Path | None) -> Path | None:
        # Resolved, because the state folder marks the processes of a stack: one folder, one mark.
        return None if path is None else _resolve(path)

    @field_validator("state")
    @classmethod
    def _a_folder(cls, path: Path) -> Path:
        try:
            there = next(place for place in (path, *path.parents) if place.exists())
            if there.is_dir():
                return path
        except OSError as error:
            raise ValueError(f"{error.strerror}; choose another folder") from error
        raise ValueError(f"{there} is a file, not a folder; choose another folder")

    @field_validator("zones")
    @classmethod
    def _are_zones(cls, zones: str) -> str:
        wrong = [zone for zone in zones.split(",") if not _ZONE.fullmatch(zone.strip())]
        if wrong:
            raise ValueError(f"{wrong[0].strip()!r} is no zone; write them like us-central1-a,us-east4-c")
        return zones

    @field_validator("project", "controller", "pool")
    @classmethod
    def _is_told_for_google(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("cloud") == "google" and value in (_LOCAL_PROJECT, _LOCALHOST, _LOCAL_POOL):
            what = {
                "project": "the project to rent in",
                "controller": "an address that machines there reach",
                "pool": "a label of this controller's own: what carries it, and no row knows, is deleted",
            }[str(info.field_name)]
            raise ValueError(f"with cloud = google this must be {what}")
        return value

    @field_validator("ledger")
    @classmethod
    def _absolute(cls, url: str | None) -> str | None:
        # The same for a database file: the processes that open it run in other folders.
        file = _RELATIVE_SQLITE.match(url) if url else None
        return url if file is None else f"{file[1]}{Path(file[2]).absolute()}{file[3]}"

    @field_validator("model")
    @classmethod
    def _findable(cls, model: str) -> str:
        # The processes that load it run in other folders. Shipped names have no suffix.
        return str(_resolve(Path(model))) if model.endswith(_MODEL_SUFFIX) else model

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=TOML)

    @property
    def inbox_folder(self) -> Path:
        return self.inbox or self.state / "inbox"

    @property
    def outbox_folder(self) -> Path:
        return self.outbox or self.state / "outbox"

    @property
    def work_folder(self) -> Path:
        """Unpacked inputs, receipts and previews of the batches in hand; nobody's results."""
        return self.state / "work"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def ledger_url(self) -> str:
        return self.ledger or f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def machine_account(self) -> str:
        """The account that machines act as; they need one to prove who they are and to read the image."""
        return self.service_account or f"spotlift-worker@{self.project}.iam.gserviceaccount.com"

    @property
    def container(self) -> str:
        """The container image that a machine runs."""
        registry = f"us-central1-docker.pkg.dev/{self.project}/spotlift"
        return self.worker_image or f"{registry}/worker:{version('spotlift')}"

    @property
    def rents_gpus(self) -> bool:
        """Whether images are enlarged by rented GPUs. Emulated machines have none, whatever their type says."""
        return self.cloud == "google" and (self.gpu is not None or _WITH_GPUS.match(self.machine_type) is not None)

    @property
    def threads(self) -> int:
        """TensorFlow threads of one machine; 0: all that it has. Emulated machines share this computer's cores."""
        if self.machine_threads is not None or self.cloud == "google":
            return self.machine_threads or 0
        return max(1, (os.cpu_count() or 1) // self.machines)

    def shown(self) -> dict[str, Any]:
        """Every setting as JSON knows it, for people to see: without the password of the ledger."""
        return {**self.model_dump(mode="json"), "ledger": self.ledger and _without_password(self.ledger)}

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return list(self.shown().items())

    def environment(self) -> dict[str, str]:
        """The environment variables from which a child process reads exactly these settings."""
        return {
            PREFIX + name.upper(): str(value)
            for name, value in self.model_dump(mode="json").items()
            if value is not None
        }


def read_settings(**overrides: Any) -> Settings:
    """Settings from all sources; `overrides` that are None do not count. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_line(str(e["loc"][0]) if e["loc"] else "?", e["msg"], e.get("input"), given) for e in error.errors()]
        raise SettingsError("\n".join(lines)) from error
    except (OSError, ValueError) as error:  # TOML that does not parse, or a file that may not be read
        raise SettingsError(f"{Path(TOML).absolute()} cannot be read: {error}") from error


def _line(name: str, message: str, value: object, given: Collection[str]) -> str:
    """What is wrong with one setting, and where the wrong value comes from: the strongest source that names it."""
    if name not in Settings.model_fields:
        known = ", ".join(sorted(Settings.model_fields))
        return f"{TOML} has a setting {name!r} that does not exist; known are {known}"
    variable = PREFIX + name.upper()
    if name in given:
        origin = f"argument {name!r}"
    elif variable in map(str.upper, os.environ):
        origin = f"environment variable {variable}"
    else:
        origin = str(Path(TOML).absolute()) if Path(TOML).exists() else "its default"
    return f"setting {name!r} = {str(value)!r} ({origin}): {message.removeprefix('Value error, ')}"


def _resolve(path: Path) -> Path:
    """The path without `~`, `..` and links. Raises ValueError where there is no such home, or links go in circles."""
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"it leads nowhere: {error}") from error


def _without_password(url: str) -> str:
    """Hide too much rather than too little: an `@` inside a password belongs to it."""
    return _PASSWORD_OPTION.sub(r"\1***", _USER_AND_PASSWORD.sub(r"\1***@", url))
