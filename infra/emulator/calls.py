"""What each request of the compute API does: one short function per method, and the table that leads to them."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.emulator import bulk, catalogue, complaints, offers, pages
from infra.emulator.clock import Pace
from infra.emulator.complaints import ApiError, Json
from infra.emulator.model import Operation
from infra.emulator.resources import Resource, last, link, number_of, stamp
from infra.emulator.world import World

LONGEST_WAIT: Final = 120.0
"""Seconds that `wait` holds back its answer at most."""
_LONGEST_CONSOLE: Final = 1 << 20

Answer = Json | bytes


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


ZONES: Final = [f"zones/{zone}" for zone in sorted(catalogue.ZONES)]
REGIONS: Final = [f"regions/{region}" for region in sorted(catalogue.REGIONS)]


# Instances


def insert_instance(call: Call) -> Answer:
    body, template = dict(call.body), call.query.get("sourceInstanceTemplate")
    if template:
        body = {**call.world.template(call.project, last(template)).get("properties", {}), **body}
        if "/" not in str(body.get("machineType", "/")):  # templates only have its name
            body["machineType"] = f"zones/{call.zone}/machineTypes/{body['machineType']}"
    return call.told(call.world.insert(call.project, call.zone, body, call.now, call.request_id))


def get_instance(call: Call) -> Answer:
    return call.world.instance(call.project, call.zone, call.name).resource.raw


def list_instances(call: Call) -> Answer:
    found = [] if call.world.unreachable(call.zone) else call.world.instances(call.project, call.zone)
    path = f"zones/{call.zone}/instances"
    return pages.one_place("instance", call.project, path, (it.resource for it in found), call.ask)


def aggregated_instances(call: Call) -> Answer:
    found = ((f"zones/{it.zone}", it.resource) for it in call.world.instances(call.project))
    silent = [place for place in ZONES if call.world.unreachable(last(place))]
    path = "aggregated/instances"
    return pages.all_places("instance", "instances", call.project, path, found, ZONES, call.ask, silent)


def delete_instance(call: Call) -> Answer:
    return call.told(call.world.delete(call.project, call.zone, call.name, call.now, call.request_id))


def stop_instance(call: Call) -> Answer:
    return call.told(call.world.stop(call.project, call.zone, call.name, call.now, call.request_id))


def set_labels(call: Call) -> Answer:
    return call.told(call.world.set_labels(call.project, call.zone, call.name, call.body, call.now, call.request_id))


def simulate_maintenance(call: Call) -> Answer:
    return call.told(call.world.simulate_maintenance(call.project, call.zone, call.name, call.now))


def serial_port(call: Call) -> Answer:
    instance = call.world.instance(call.project, call.zone, call.name)
    log = call.consoles(instance.id)
    written = log.read_bytes() if log is not None and log.exists() else b""
    start = int(call.query.get("start", "0"))
    begin = max(0, len(written) + start) if start < 0 else min(start, len(written))
    piece = written[begin : begin + _LONGEST_CONSOLE]
    return {
        "kind": "compute#serialPortOutput",
        "contents": piece.decode(errors="replace"),
        "start": str(begin),
        "next": str(begin + len(piece)),
        "selfLink": link(call.project, instance.path, "serialPort"),
    }


def bulk_in_zone(call: Call) -> Answer:
    zone = call.zone
    args = (call.project, f"zones/{zone}", (zone,), call.body, call.now, call.request_id)
    return call.told(bulk.insert(call.world, *args))


def bulk_in_region(call: Call) -> Answer:
    region = call.region
    args = (call.project, f"regions/{region}", catalogue.REGIONS[region], call.body, call.now, call.request_id)
    return call.told(bulk.insert(call.world, *args))


# Operations


def get_operation(call: Call) -> Answer:
    return call.world.operation(call.project, call.scope, call.name).json(call.now)


async def wait_operation(call: Call) -> Answer:
    operation = call.world.operation(call.project, call.scope, call.name)
    await call.pace.until(lambda: operation.done, LONGEST_WAIT)
    return operation.json(call.pace.clock.now())


def list_operations(call: Call) -> Answer:
    found = (Resource(it.json(call.now)) for it in call.world.operations(call.project, call.scope))
    return pages.one_place("operation", call.project, f"{call.scope}/operations", found, call.ask)


def aggregated_operations(call: Call) -> Answer:
    found = ((it.scope, Resource(it.json(call.now))) for it in call.world.operations(call.project))
    path, places = "aggregated/operations", ["global", *REGIONS, *ZONES]
    return pages.all_places("operation", "operations", call.project, path, found, places, call.ask)


# What there is


def the_project(call: Call) -> Answer:
    return offers.the_project(call.project, call.world.faults, call.world.usage(call.project)).raw


def _regions(call: Call) -> list[Resource]:
    return offers.regions(call.project, call.world.faults, call.world.usage(call.project))


Offered = Callable[[str, str], list[Resource]]


def _get(found: list[Resource], call: Call, path: str) -> Answer:
    for it in found:
        if call.name in (it.name, it.content["id"]):
            return it.raw
    raise complaints.not_found(f"projects/{call.project}/{path}/{call.name}")


def get_zone(call: Call) -> Answer:
    return _get(offers.zones(call.project), call, "zones")


def list_zones(call: Call) -> Answer:
    return pages.one_place("zone", call.project, "zones", offers.zones(call.project), call.ask)


def get_region(call: Call) -> Answer:
    return _get(_regions(call), call, "regions")


def list_regions(call: Call) -> Answer:
    return pages.one_place("region", call.project, "regions", _regions(call), call.ask)


def get_of_zone(field: str, offered: Offered) -> "Handler":
    return lambda call: _get(offered(call.project, call.zone), call, f"zones/{call.zone}/{field}")


def list_of_zone(kind: str, field: str, offered: Offered) -> "Handler":
    return lambda call: pages.one_place(
        kind, call.project, f"zones/{call.zone}/{field}", offered(call.project, call.zone), call.ask
    )


def aggregated(kind: str, field: str, places: list[str], offered: Offered) -> "Handler":
    def answer(call: Call) -> Answer:
        found = ((place, it) for place in places for it in offered(call.project, last(place)))
        return pages.all_places(kind, field, call.project, f"aggregated/{field}", found, places, call.ask)

    return answer


def get_image(call: Call) -> Answer:
    return _get(offers.images(call.project), call, "global/images")


def image_of_family(call: Call) -> Answer:
    found = catalogue.newest_of_family(call.project, call.name)
    if found is None:
        raise complaints.not_found(f"projects/{call.project}/global/images/family/{call.name}")
    return offers.image(found).raw


def list_images(call: Call) -> Answer:
    return pages.one_place("image", call.project, "global/images", offers.images(call.project), call.ask)


def get_network(call: Call) -> Answer:
    return _get(offers.networks(call.project), call, "global/networks")


def list_networks(call: Call) -> Answer:
    return pages.one_place("network", call.project, "global/networks", offers.networks(call.project), call.ask)


def get_subnetwork(call: Call) -> Answer:
    return _get(offers.subnetworks(call.project, call.region), call, f"regions/{call.region}/subnetworks")


def list_subnetworks(call: Call) -> Answer:
    path, found = f"regions/{call.region}/subnetworks", offers.subnetworks(call.project, call.region)
    return pages.one_place("subnetwork", call.project, path, found, call.ask)


# Disks exist only as parts of their instances


def _disks(call: Call, zone: str | None) -> list[tuple[str, Resource]]:
    return [
        (f"zones/{it.zone}", Resource(_disk(call.project, it.zone, disk, it.created, it.resource.content["selfLink"])))
        for it in call.world.instances(call.project, zone)
        for disk in it.asked["disks"]
    ]


def _disk(project: str, zone: str, disk: Json, created: float, user: str) -> Json:
    name = last(disk["source"])
    return {
        "kind": "compute#disk",
        "id": number_of(disk["source"]),
        "creationTimestamp": stamp(created),
        "name": name,
        "sizeGb": disk["diskSizeGb"],
        "zone": link(project, "zones", zone),
        "status": "READY",
        "selfLink": disk["source"],
        "type": link(project, "zones", zone, "diskTypes", "pd-balanced"),
        "users": [user],
        "physicalBlockSizeBytes": "4096",
    }


def get_disk(call: Call) -> Answer:
    return _get([it for _, it in _disks(call, call.zone)], call, f"zones/{call.zone}/disks")


def list_disks(call: Call) -> Answer:
    found = (it for _, it in _disks(call, call.zone))
    return pages.one_place("disk", call.project, f"zones/{call.zone}/disks", found, call.ask)


def aggregated_disks(call: Call) -> Answer:
    return pages.all_places("disk", "disks", call.project, "aggregated/disks", _disks(call, None), ZONES, call.ask)


# Templates


def _template(project: str, given: Json) -> Resource:
    name = given["name"]
    answer: Json = {
        "kind": "compute#instanceTemplate",
        "id": given["id"],
        "creationTimestamp": stamp(given["created"]),
        "name": name,
        "properties": given.get("properties", {}),
        "selfLink": link(project, "global", "instanceTemplates", name),
    }
    return Resource(answer | ({"description": given["description"]} if "description" in given else {}))


def insert_template(call: Call) -> Answer:
    return call.told(call.world.insert_template(call.project, call.body, call.now, call.request_id))


def get_template(call: Call) -> Answer:
    return _template(call.project, call.world.template(call.project, call.name)).raw


def list_templates(call: Call) -> Answer:
    found = (_template(call.project, it) for it in call.world.templates(call.project))
    return pages.one_place("instanceTemplate", call.project, "global/instanceTemplates", found, call.ask)


def delete_template(call: Call) -> Answer:
    return call.told(call.world.delete_template(call.project, call.name, call.now))


Handler = Callable[[Call], Answer | Awaitable[Answer]]

_INSTANCES = "zones/{zone}/instances"
_TABLE: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "", the_project),
    ("POST", _INSTANCES, insert_instance),
    ("GET", _INSTANCES, list_instances),
    ("POST", f"{_INSTANCES}/bulkInsert", bulk_in_zone),
    ("POST", "regions/{region}/instances/bulkInsert", bulk_in_region),
    ("GET", f"{_INSTANCES}/{{name}}", get_instance),
    ("DELETE", f"{_INSTANCES}/{{name}}", delete_instance),
    ("POST", f"{_INSTANCES}/{{name}}/stop", stop_instance),
    ("POST", f"{_INSTANCES}/{{name}}/setLabels", set_labels),
    ("POST", f"{_INSTANCES}/{{name}}/simulateMaintenanceEvent", simulate_maintenance),
    ("GET", f"{_INSTANCES}/{{name}}/serialPort", serial_port),
    ("GET", "aggregated/instances", aggregated_instances),
    ("GET", "aggregated/operations", aggregated_operations),
    *(
        row
        for scope in ("zones/{zone}", "regions/{region}", "global")
        for row in (
            ("GET", f"{scope}/operations", list_operations),
            ("GET", f"{scope}/operations/{{name}}", get_operation),
            ("POST", f"{scope}/operations/{{name}}/wait", wait_operation),
        )
    ),
    *(
        row
        for kind, field, offered in (
            ("machineType", "machineTypes", offers.machine_types),
            ("acceleratorType", "acceleratorTypes", offers.gpu_types),
            ("diskType", "diskTypes", offers.disk_types),
        )
        for row in (
            ("GET", f"zones/{{zone}}/{field}", list_of_zone(kind, field, offered)),
            ("GET", f"zones/{{zone}}/{field}/{{name}}", get_of_zone(field, offered)),
            ("GET", f"aggregated/{field}", aggregated(kind, field, ZONES, offered)),
        )
    ),
    ("GET", "zones", list_zones),
    ("GET", "zones/{name}", get_zone),
    ("GET", "regions", list_regions),
    ("GET", "regions/{name}", get_region),
    ("GET", "global/images", list_images),
    ("GET", "global/images/{name}", get_image),
    ("GET", "global/images/family/{name}", image_of_family),
    ("GET", "global/networks", list_networks),
    ("GET", "global/networks/{name}", get_network),
    ("GET", "regions/{region}/subnetworks", list_subnetworks),
    ("GET", "regions/{region}/subnetworks/{name}", get_subnetwork),
    ("GET", "aggregated/subnetworks", aggregated("subnetwork", "subnetworks", REGIONS, offers.subnetworks)),
    ("GET", "zones/{zone}/disks", list_disks),
    ("GET", "zones/{zone}/disks/{name}", get_disk),
    ("GET", "aggregated/disks", aggregated_disks),
    ("POST", "global/instanceTemplates", insert_template),
    ("GET", "global/instanceTemplates", list_templates),
    ("GET", "global/instanceTemplates/{name}", get_template),
    ("DELETE", "global/instanceTemplates/{name}", delete_template),
]

_ROUTES: Final = [
    (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), handler) for method, path, handler in _TABLE
]


def find(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """What a request for that path below its project leads to. Raises ApiError 404."""
    for of, pattern, handler in _ROUTES:
        found = pattern.fullmatch(path) if of == method else None
        if found is not None:
            return handler, found.groupdict()
    raise ApiError(404, "notFound", f"The emulator does not offer {method} {path}.")


def is_insert(handler: Handler) -> bool:
    """Whether it makes instances: those are the answers that may get lost."""
    return handler in (insert_instance, bulk_in_zone, bulk_in_region)
