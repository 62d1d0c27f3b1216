"""Checks answers against the discovery document of Compute Engine, the copy that google-api-python-client ships."""

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "compute.v1.json"
NUMBER = re.compile(r"-?\d+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
TIMES = {"creationTimestamp", "insertTime", "startTime", "endTime", "lastStartTimestamp", "lastStopTimestamp"}


@cache
def document() -> dict[str, Any]:
    return json.loads(DOCUMENT.read_text())


@cache
def methods() -> list[tuple[str, re.Pattern[str], str]]:
    """HTTP method, path below `/compute/v1/`, and schema of the answer, of every method there is."""
    return [
        (it["httpMethod"], re.compile(re.sub(r"\{\w+\}", "[^/]+", it["path"])), it["response"]["$ref"])
        for resource in document()["resources"].values()
        for it in resource["methods"].values()
        if "response" in it
    ]


class Recorder:
    """An application around another that remembers every answer of the compute API."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, str, int, bytes]] = []

    def around(self, app: ASGIApp) -> ASGIApp:
        async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
            status, body = 0, b""

            async def noted(message: Message) -> None:
                nonlocal status, body
                status = message.get("status", status)
                body += message.get("body", b"")
                await send(message)

            await app(scope, receive, noted)
            if scope["path"].startswith("/compute/v1/"):
                self.answers.append((scope["method"], scope["path"], status, body))

        return recorded

    def check(self) -> None:
        """Every answer since the last check is what the document promises."""
        while self.answers:
            method, path, status, body = self.answers.pop()
            where = f"{method} {path}"
            answer = json.loads(body)
            if status == 200:
                complain_about(answer, schema_of(method, path.removeprefix("/compute/v1/")), where)
            else:
                check_error(answer, status, where)


def schema_of(method: str, path: str) -> str:
    found = [schema for of, pattern, schema in methods() if of == method and pattern.fullmatch(path)]
    assert found, f"the real API has no {method} {path}"
    return found[0]


def check_error(answer: Any, status: int, where: str) -> None:
    error = answer["error"]
    assert set(answer) == {"error"}, where
    assert set(error) <= {"code", "message", "errors", "status", "details"}, where
    assert error["code"] == status, where
    assert error["message"], where
    for each in error["errors"]:
        assert set(each) == {"domain", "reason", "message"}, where


def complain_about(answer: Any, schema: str, where: str) -> None:
    """Fail with the place of the first thing that is not as the schema says."""
    _check(answer, {"$ref": schema}, where)
    assert answer.get("kind", "").startswith("compute#"), where


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    if "$ref" in schema:
        schema = document()["schemas"][schema["$ref"]]
    kind = schema["type"]
    if kind == "object":
        assert isinstance(value, dict), where
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            assert key in known or others, f"{where}.{key} is not in the document"
            _check(inner, known.get(key, others), f"{where}.{key}")
            if key in TIMES:
                assert TIME.fullmatch(inner), f"{where}.{key}: {inner!r}"
    elif kind == "array":
        assert isinstance(value, list), where
        for number, inner in enumerate(value):
            _check(inner, schema["items"], f"{where}[{number}]")
    else:
        _check_plain(value, kind, schema, where)


def _check_plain(value: Any, kind: str, schema: dict[str, Any], where: str) -> None:
    types: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
    }
    if kind == "any":
        return
    assert isinstance(value, types[kind]), f"{where} is {value!r}, not a {kind}"
    assert kind == "boolean" or not isinstance(value, bool), f"{where} is {value!r}, not a {kind}"
    if schema.get("format") in ("int64", "uint64"):
        assert NUMBER.fullmatch(value), f"{where} is {value!r}, not a number in a string"
    if schema.get("format") == "byte":
        base64.b64decode(value, validate=True)
    if "enum" in schema:
        assert value in schema["enum"], f"{where} is {value!r}, none of {schema['enum']}"
