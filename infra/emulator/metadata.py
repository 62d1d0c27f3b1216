"""The metadata server of an instance: what a machine can learn about itself, on a loopback address of its own.

One application serves all of them; which instance asks is known from the server that the connection came in at.
"""

import hashlib
import html
import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from infra.emulator import catalogue
from infra.emulator.clock import Pace
from infra.emulator.identity import Identity, account_of
from infra.emulator.model import Instance
from infra.emulator.resources import number_of

_FLAVOR: Final = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_FOR_EVER: Final = 24 * 3600.0
ROOT: Final = "/computeMetadata/v1/"
POWER_OFF: Final = "/emulator/power-off"
GPUS: Final = "/emulator/gpus"
"""Two paths that the real one does not have, for the stand-ins of poweroff and nvidia-smi."""


class NotThere(Exception):
    """The metadata server knows no such path."""


def create_app(pace: Pace, identity: Identity) -> Starlette:
    """The application; the instance that asks stands in the state of each request."""

    async def value(request: Request) -> Response:
        instance: Instance = request.state.instance
        if request.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in request.headers:
            return _page(403, "Missing Metadata-Flavor:Google header.")
        path = request.path_params["path"]
        try:
            if path.rstrip("/").endswith("/identity") and "service-accounts" in path:
                return _text(_token(pace, identity, instance, path, request.query_params))
            return await _answer(pace, instance, path, request)
        except NotThere:
            return _page(404, f"The requested URL {ROOT}{path} was not found on this server.")

    async def root(_: Request) -> Response:
        return _text("computeMetadata/\n")

    async def power_off(request: Request) -> Response:
        pace.world.power_off(request.state.instance, pace.clock.now())
        pace.changed()
        return Response(status_code=204)

    async def gpus(request: Request) -> Response:
        """One line for each: number, product, identifier, memory in MiB."""
        kind, count = request.state.instance.gpus
        gpu = catalogue.GPU_TYPES.get(kind)
        lines = [
            f"{number}|{gpu.product}|GPU-{_etag([request.state.instance.id, number])}|{gpu.memory_mib}"
            for number in range(count)
            if gpu is not None
        ]
        return Response("".join(f"{line}\n" for line in lines), media_type="text/plain")

    return Starlette(
        routes=[
            Route("/", root),
            Route("/computeMetadata/", root),
            Route(ROOT + "{path:path}", value),
            Route(POWER_OFF, power_off, methods=["POST"]),
            Route(GPUS, gpus),
        ]
    )


def _token(pace: Pace, identity: Identity, instance: Instance, path: str, query: Mapping[str, str]) -> str:
    look(tree(instance), path.rstrip("/").rpartition("/")[0])  # is there such an account at all?
    audience = query.get("audience", "")
    if not audience:
        raise NotThere
    return identity.token(instance, audience, query.get("format") == "full", pace.clock.now())


async def _answer(pace: Pace, instance: Instance, path: str, request: Request) -> Response:
    query = request.query_params
    found = look(tree(instance), path)
    if query.get("wait_for_change", "").lower() == "true":
        known = query.get("last_etag") or _etag(found)
        patience = float(query.get("timeout_sec", "0")) or _FOR_EVER
        await pace.until(lambda: _etag(look(tree(instance), path)) != known, patience)
        found = look(tree(instance), path)
    recursive = query.get("recursive", "").lower() == "true"
    as_json = query.get("alt", "json" if recursive else "text") == "json"
    if isinstance(found, dict | list) and not recursive:
        if path and not path.endswith("/"):
            return RedirectResponse(f"{request.url.path}/", 301, headers=_FLAVOR)
        return _text("".join(f"{line}\n" for line in _listing(found)), _etag(found))
    if as_json:
        return JSONResponse(_camel(found), headers={**_FLAVOR, "ETag": _etag(found)})
    return _text("".join(f"{line}\n" for line in _flat(found)) if recursive else _said(found), _etag(found))


def tree(instance: Instance) -> dict[str, Any]:
    """All that the server says, as nested dictionaries: directories, lists of directories, and values."""
    number = number_of(instance.project)
    scheduling = instance.asked["scheduling"]
    outside = instance.asked["networkInterfaces"][0]
    return {
        "instance": {
            "attributes": dict(instance.metadata),
            "cpu-platform": "Intel Broadwell",
            "description": instance.asked.get("description", ""),
            "disks": [
                {"device-name": it["deviceName"], "index": it["index"], "mode": "READ_WRITE", "type": "PERSISTENT"}
                for it in instance.asked["disks"]
            ],
            "hostname": f"{instance.name}.{instance.zone}.c.{instance.project}.internal",
            "id": instance.id,
            "machine-type": f"projects/{number}/machineTypes/{instance.machine_type.name}",
            "maintenance-event": "NONE",
            "name": instance.name,
            "network-interfaces": [
                {
                    "ip": instance.address,
                    "mac": "42:01:7f:58:00:01",
                    "network": f"projects/{number}/networks/{outside['network'].rpartition('/')[2]}",
                    "mtu": 1460,
                }
            ],
            "preempted": instance.preempted,
            "scheduling": {
                "automatic-restart": bool(scheduling.get("automaticRestart")),
                "on-host-maintenance": scheduling.get("onHostMaintenance", "MIGRATE"),
                "preemptible": instance.spot,
            },
            "service-accounts": _accounts(instance),
            "tags": list(instance.asked.get("tags", {}).get("items", [])),
            "zone": f"projects/{number}/zones/{instance.zone}",
        },
        "project": {"attributes": {}, "numeric-project-id": int(number), "project-id": instance.project},
    }


def _accounts(instance: Instance) -> dict[str, Any]:
    """None unless the instance was given one: then neither tokens nor an identity."""
    given = instance.asked.get("serviceAccounts", [])
    if not given:
        return {}
    email = account_of(instance)
    account = {
        "aliases": ["default"],
        "email": email,
        "scopes": list(given[0]["scopes"]),
        "token": _Token({"access_token": f"ya29.emulated-{instance.id}", "expires_in": 3599, "token_type": "Bearer"}),
    }
    return {"default": account, email: account}


class _Token(dict[str, Any]):
    """JSON that is a value, not a directory."""


def look(whole: Any, path: str) -> Any:
    """What is at that path. Raises NotThere."""
    found = whole
    for part in (it for it in path.split("/") if it):
        if isinstance(found, dict) and not isinstance(found, _Token) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found) and isinstance(found[0], dict):
            found = found[int(part)]
        else:
            raise NotThere
    return _Value(found) if isinstance(found, _Token) else found


class _Value(str):
    """A value that is JSON in itself."""

    def __new__(cls, content: dict[str, Any]) -> "_Value":
        return super().__new__(cls, json.dumps(content, separators=(",", ":")))


def _listing(found: Any) -> list[str]:
    if isinstance(found, list):
        return [f"{number}/" for number in range(len(found))] if found and isinstance(found[0], dict) else found
    return [f"{key}/" if _is_folder(value) else key for key, value in found.items()]


def _is_folder(value: Any) -> bool:
    if isinstance(value, _Token):
        return False
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _flat(found: Any, prefix: str = "") -> list[str]:
    """`recursive=true&alt=text`: a line for each value."""
    if _is_folder(found):
        parts = found.items() if isinstance(found, dict) else enumerate(found)
        return [line for key, value in parts for line in _flat(value, f"{prefix}/{key}" if prefix else str(key))]
    return [f"{prefix} {_said(found)}".strip()]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return str(value)


def _camel(value: Any, plain: bool = False) -> Any:
    """Names in JSON answers: `machineType` for `machine-type`. Attributes and accounts keep theirs."""
    if isinstance(value, _Token):
        return json.dumps(value)
    if isinstance(value, dict):
        return {
            key if plain else _camel_name(key): _camel(it, key in ("attributes", "service-accounts"))
            for key, it in value.items()
        }
    if isinstance(value, list):
        return [_camel(it) for it in value]
    return _said(value) if isinstance(value, bool) else value


def _camel_name(name: str) -> str:
    first, *others = name.split("-")
    return first + "".join(it.capitalize() for it in others)


def _etag(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _text(content: str, etag: str | None = None) -> Response:
    headers = {**_FLAVOR, "ETag": etag or _etag(content)}
    return Response(content, media_type="application/text", headers=headers)


def _page(status: int, said: str) -> Response:
    body = f"<!DOCTYPE html><html lang=en><title>Error {status}</title><p>{html.escape(said)}</html>\n"
    return Response(body, status, headers=_FLAVOR, media_type="text/html")
