"""Answers that are lists: filtered, ordered, cut into pages, and of one place or of all (`aggregated`)."""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from infra.emulator import filters
from infra.emulator.complaints import Json, invalid
from infra.emulator.resources import Resource, link

MOST: Final = 500
"""Resources on a page, at most and by default."""


@dataclass(frozen=True)
class Ask:
    """What a list request may say."""

    filter: str = ""
    order_by: str = ""
    size: int = MOST
    after: int = 0
    """How many were on the pages before."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Ask":
        """Raises ApiError."""
        size = query.get("maxResults", str(MOST))
        if not size.isdecimal() or not 0 <= int(size) <= MOST:
            raise invalid("maxResults", size, f"Must be between 0 and {MOST}.")
        order = query.get("orderBy", "")
        if order not in ("", "name", "creationTimestamp desc"):
            raise invalid("orderBy", order, "Supported are name and creationTimestamp desc.")
        return cls(query.get("filter", ""), order, int(size) or MOST, _after(query.get("pageToken", "")))


def _after(token: str) -> int:
    if not token:
        return 0
    try:
        return int(json.loads(base64.urlsafe_b64decode(token))["after"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise invalid("pageToken", token, "Invalid page token.") from error


def _token(after: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"after": after}).encode()).decode()


Placed = tuple[str, Resource]
"""A resource and the place where it is: `zones/us-central1-a`."""


def _page(resources: Iterable[Placed], ask: Ask) -> tuple[list[Placed], str]:
    """The page that is asked for, and the token of the next one."""
    test = filters.parse(ask.filter)
    found = [it for it in resources if test(it[1].content)]
    if ask.order_by == "creationTimestamp desc":
        found.sort(key=lambda it: str(_created(it[1].content)), reverse=True)
    end = ask.after + ask.size
    return found[ask.after : end], _token(end) if end < len(found) else ""


def _created(content: Json) -> Any:
    return content.get("creationTimestamp") or content.get("insertTime", "")


def one_place(kind: str, project: str, path: str, resources: Iterable[Resource], ask: Ask) -> bytes:
    """A `…List` of one place. Raises ApiError for a filter that makes no sense."""
    page, token = _page((("", it) for it in resources), ask)
    head: Json = {
        "kind": f"compute#{kind}List",
        "id": f"projects/{project}/{path}",
        "selfLink": link(project, path),
    }
    if token:
        head["nextPageToken"] = token
    return _with(head, "items", b"[" + b",".join(it.raw for _, it in page) + b"]") if page else _json(head)


def all_places(
    kind: str,
    field: str,
    project: str,
    path: str,
    resources: Iterable[Placed],
    places: Sequence[str],
    ask: Ask,
    silent: Iterable[str] = (),
) -> bytes:
    """An `…AggregatedList`: every place says what it has, that it has nothing, or (`silent`) does not answer."""
    unheard = set(silent)
    page, token = _page((it for it in resources if it[0] not in unheard), ask)
    page.sort(key=lambda it: it[0])
    by_place = {place: list(group) for place, group in groupby(page, key=lambda it: it[0])}
    head: Json = {
        "kind": f"compute#{kind}AggregatedList",
        "id": f"projects/{project}/{path}",
        "selfLink": link(project, path),
    }
    if token:
        head["nextPageToken"] = token
    if unheard:
        head["unreachables"] = [link(project, place) for place in sorted(unheard)]
        head["warning"] = _warning("UNREACHABLE", "Some places did not answer.", sorted(unheard))
    scopes = b",".join(_scopes(field, places, by_place, unheard))
    return _with(head, "items", b"{" + scopes + b"}")


def _scopes(
    field: str, places: Sequence[str], by_place: Mapping[str, list[Placed]], unheard: set[str]
) -> Iterator[bytes]:
    for place in places:
        if place in by_place:
            items = b",".join(it.raw for _, it in by_place[place])
            yield _json(place) + b":" + _with({}, field, b"[" + items + b"]")
        else:
            code, said = "NO_RESULTS_ON_PAGE", f"There are no results for scope '{place}' on this page."
            if place in unheard:
                code, said = "UNREACHABLE", f"The scope '{place}' did not answer."
            yield _json(place) + b":" + _json({"warning": _warning(code, said, [place])})


def _warning(code: str, message: str, places: Sequence[str]) -> Json:
    return {"code": code, "message": message, "data": [{"key": "scope", "value": place} for place in places]}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _with(head: Json, field: str, content: bytes) -> bytes:
    """The head with one more field, whose JSON is written already."""
    start = _json(head)[:-1]
    return start + (b"," if head else b"") + _json(field) + b":" + content + b"}"
