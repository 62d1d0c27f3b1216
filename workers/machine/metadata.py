"""What the metadata server tells a VM about itself: the only thing that a VM knows when it wakes up.

Plain urllib, because a rented machine carries no cloud SDK, and never through a proxy: the server is on the VM's own
host. Every request has a deadline.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

PATIENCE = 10.0
"""Seconds that the server may take for an answer that it need not wait for."""
CHANGE_PATIENCE = 60
"""Seconds after which a request that waits for a change comes back and is made again."""
LARGEST = 1 << 20

_open = build_opener(ProxyHandler({})).open


class NotThere(Exception):
    """The metadata server knows no such thing."""


@dataclass(frozen=True)
class Metadata:
    """The metadata server of this VM, `host` or `host:port`. All methods raise OSError when it does not answer."""

    host: str = "metadata.google.internal"

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The one that Google's own libraries would ask."""
        return cls(environment.get("GCE_METADATA_HOST") or cls.host)

    def get(self, path: str, **query: str | int) -> str:
        """The value at that path, below `/computeMetadata/v1/`. Raises NotThere."""
        return self._get(path, query, PATIENCE)[0]

    def name(self) -> str:
        """The name of this VM."""
        return self.get("instance/name")

    def attribute(self, key: str, default: str | None = None) -> str:
        """What whoever rented the VM has to say under that key. Raises NotThere where that is nothing."""
        try:
            return self.get(f"instance/attributes/{quote(key)}")
        except NotThere:
            if default is None:
                raise
            return default

    def identity_token(self, audience: str) -> str:
        """A token, signed by the cloud and meant for `audience`, that says which VM this is."""
        return self.get("instance/service-accounts/default/identity", audience=audience, format="full").strip()

    def wait_for_change(self, path: str, etag: str = "0") -> tuple[str, str]:
        """Value and etag, as soon as the etag is another one than `etag`, or (unchanged) after a minute."""
        query: dict[str, str | int] = {"wait_for_change": "true", "last_etag": etag, "timeout_sec": CHANGE_PATIENCE}
        return self._get(path, query, CHANGE_PATIENCE + PATIENCE)

    def _get(self, path: str, query: Mapping[str, str | int], patience: float) -> tuple[str, str]:
        address = f"http://{self.host}/computeMetadata/v1/{path}"
        if query:
            address += f"?{urlencode(query)}"
        try:
            with _open(Request(address, headers={"Metadata-Flavor": "Google"}), timeout=patience) as answer:
                return answer.read(LARGEST).decode(), answer.headers.get("ETag", "0")
        except HTTPError as error:
            with error:
                if error.code == 404:
                    raise NotThere(f"the metadata server knows no {path}") from None
            raise OSError(f"the metadata server answers {error.code} to {path}") from None


@dataclass(frozen=True)
class Assignment:
    """What this VM was rented for."""

    name: str
    scheduler: str
    registrar: str
    authority: str
    """Certificate of the authority that the life's members trust, PEM."""
    audience: str
    model: str
    """Model to load before joining; empty: none."""
    gpus: int
    threads: int
    idle_limit: float
    """Seconds without a scheduler, or without work, after which the machine ends."""

    @classmethod
    def read(cls, metadata: Metadata) -> Self:
        """Raises NotThere, ValueError (a number is none) and OSError."""
        return cls(
            name=metadata.name(),
            scheduler=metadata.attribute("spotlift-scheduler"),
            registrar=metadata.attribute("spotlift-registrar"),
            authority=metadata.attribute("spotlift-authority"),
            audience=metadata.attribute("spotlift-audience"),
            model=metadata.attribute("spotlift-model", ""),
            gpus=int(metadata.attribute("spotlift-gpus", "0")),
            threads=int(metadata.attribute("spotlift-threads", "0")),
            idle_limit=float(metadata.attribute("spotlift-idle-limit")),
        )

    @classmethod
    def read_patiently(cls, metadata: Metadata, patience: float) -> Self:
        """The same, asked again for `patience` seconds while the server does not answer: the network may be younger."""
        until = time.monotonic() + patience
        while True:
            try:
                return cls.read(metadata)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the Dask workers of this machine: one, or one for each of several GPUs."""
        return (self.name,) if self.gpus <= 1 else tuple(f"{self.name}.{gpu}" for gpu in range(self.gpus))
