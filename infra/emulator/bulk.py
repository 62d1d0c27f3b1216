"""Many instances with one request, in a zone or anywhere in a region: all or, with `minCount`, at least so many."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from infra.emulator import catalogue, complaints, templates
from infra.emulator.complaints import ApiError, Failure, Json
from infra.emulator.model import Operation
from infra.emulator.resources import last
from infra.emulator.world import World

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks at the insertions that belong together."""


@dataclass(frozen=True)
class _Bulk:
    parent: Operation
    children: tuple[Operation, ...]
    least: int


def insert(
    world: World, project: str, scope: str, zones: tuple[str, ...], body: Json, now: float, request_id: str = ""
) -> Operation:
    """Ask for `count` instances in those zones. Raises ApiError."""
    world.advance(now)
    what = f"bulkInsert {scope}"
    known = world.known(project, request_id, what)
    if known is not None:
        return known
    count = int(body.get("count", 0) or len(body.get("perInstanceProperties", {})))
    if count < 1:
        raise complaints.required("resource.count")
    least = int(body.get("minCount", count))
    properties = _properties(world, project, body)
    order = _zones(body, zones)
    names = _names(world, project, order, body, count)
    parent = world.begin(project, scope, "bulkInsert", f"{scope}/instances")
    parent.group = f"bulk-{parent.id}"
    parent.bulk = {}
    placed = _placed(body, order, count, world)
    children = []
    try:
        for name, zone in zip(names, placed, strict=True):
            asked = {**properties, "name": name, **_own(body, name), "machineType": last(properties["machineType"])}
            children.append(world.insert(project, zone, asked, now, group=parent.group))
            counts = parent.bulk.setdefault(f"zones/{zone}", {"targetVmCount": 0, "createdVmCount": 0})
            counts["targetVmCount"] += 1
    except ApiError as error:
        world.finish(parent, Failure(error.reason.upper(), error.message, error.code, "BAD REQUEST"))
        raise
    world.remember(project, request_id, what, parent)
    _look(world, _Bulk(parent, tuple(children), least))
    return parent


def _look(world: World, bulk: _Bulk) -> None:
    """Is every insertion done? Then so is the whole; below the minimum everything is taken back."""
    if not all(child.done for child in bulk.children):
        world.at(world.now + _LOOK_EVERY, partial(_look, world, bulk))
        return
    made = [child for child in bulk.children if child.failure is None]
    for child in bulk.children:
        counts = (bulk.parent.bulk or {})[child.scope]
        counts["createdVmCount"] += child.failure is None
        counts["failedToCreateVmCount"] = counts.get("failedToCreateVmCount", 0) + (child.failure is not None)
    if len(made) >= bulk.least:
        world.finish(bulk.parent)
        return
    for child in made:
        zone, name = last(child.scope), last(child.target)
        try:
            world.delete(child.project, zone, name, world.now)
        except ApiError:
            continue  # gone already
        counts = (bulk.parent.bulk or {})[child.scope]
        counts["deletedVmCount"] = counts.get("deletedVmCount", 0) + 1
    first = next(child.failure for child in bulk.children if child.failure is not None)
    world.finish(bulk.parent, first)


def _properties(world: World, project: str, body: Json) -> Json:
    given: Json = dict(body.get("instanceProperties", {}))
    template = body.get("sourceInstanceTemplate")
    if template:
        given = {**templates.properties(world, project, template), **given}
    if not given:
        raise complaints.required("resource.instanceProperties")
    if not given.get("machineType"):
        raise complaints.required("resource.instanceProperties.machineType")
    return given


def _names(world: World, project: str, zones: tuple[str, ...], body: Json, count: int) -> list[str]:
    """Given ones, or those of the pattern that nobody has: `vm-####` makes vm-0001 and so on."""
    given = [it.get("name") or key for key, it in body.get("perInstanceProperties", {}).items()]
    pattern = body.get("namePattern", "")
    hashes = pattern.count("#")
    if len(given) >= count:
        return given[:count]
    if not hashes or "#" * hashes not in pattern:
        raise complaints.invalid("resource.namePattern", pattern, "It must hold one run of # characters.")
    taken = {it.name for it in world.instances(project) if it.zone in zones}
    number = 0
    while len(given) < count:
        number += 1
        name = pattern.replace("#" * hashes, f"{number:0{hashes}d}")
        if name not in taken:
            given.append(name)
    return given


def _own(body: Json, name: str) -> Json:
    own = body.get("perInstanceProperties", {}).get(name, {})
    return {key: value for key, value in own.items() if key in ("name", "hostname")}


def _zones(body: Json, zones: tuple[str, ...]) -> tuple[str, ...]:
    """Those that the location policy allows, and that offer the machine type."""
    locations = body.get("locationPolicy", {}).get("locations", {})
    preferences = {last(zone): it.get("preference", "ALLOW") for zone, it in locations.items()}
    allowed = [zone for zone in zones if preferences.get(zone) == "ALLOW"] or list(zones)
    left = tuple(zone for zone in allowed if preferences.get(zone) != "DENY")
    if not left:
        raise complaints.invalid("resource.locationPolicy", ", ".join(preferences), "No zone is left.")
    kind = last(str(body.get("instanceProperties", {}).get("machineType", "")))
    return tuple(zone for zone in left if not kind or catalogue.offers(zone, kind)) or left


def _placed(body: Json, zones: tuple[str, ...], count: int, world: World) -> list[str]:
    """A zone for each: those in stock first; all in one, or (BALANCED) evenly."""
    stock = [zone for zone in zones if not _is_dry(world, zone)] or list(zones)
    if body.get("locationPolicy", {}).get("targetShape") == "BALANCED":
        return [stock[number % len(stock)] for number in range(count)]
    return [stock[0]] * count


def _is_dry(world: World, zone: str) -> bool:
    found = world.faults.stockouts.get(zone)
    return found is not None and found.turns.left(world.now)
