"""What the catalogue and the world hand to the API: a resource as JSON, and how its links and times are written.

Links lead to `https://www.googleapis.com`, as the real ones do: clients take them apart and ask their own endpoint.
"""

import base64
import hashlib
import json
import zlib
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from infra.emulator.complaints import Json

BASE: Final = "https://www.googleapis.com/compute/v1"
LONG_AGO: Final = "2019-01-01T00:00:00.000-08:00"


class Resource:
    """One resource: its JSON is written down once, because listings of hundreds are asked for again and again."""

    def __init__(self, content: Json) -> None:
        self.content = content

    @cached_property
    def raw(self) -> bytes:
        return json.dumps(self.content, separators=(",", ":")).encode()

    @property
    def name(self) -> str:
        return str(self.content.get("name", ""))


def link(project: str, *parts: str) -> str:
    """`projects/P/…` as a full link."""
    return "/".join((BASE, "projects", project, *parts))


def last(path: str) -> str:
    """`us-central1-a` of `https://…/zones/us-central1-a`."""
    return path.rpartition("/")[2]


def region_of(zone: str) -> str:
    return zone.rpartition("-")[0]


def stamp(when: float) -> str:
    """RFC 3339 in milliseconds."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")


def fingerprint(value: object) -> str:
    """Changes with the value: eight bytes in base64, as the API has them."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def number_of(text: str) -> str:
    """A number that stands for a name, always the same one."""
    return str(10**11 + zlib.crc32(text.encode()))
