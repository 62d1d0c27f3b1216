"""What the requests about instances, operations and templates do: one short function per method."""

from typing import Final

from infra.emulator import bulk, catalogue, pages, templates
from infra.emulator.call import REGIONS, ZONES, Answer, Call
from infra.emulator.complaints import Json
from infra.emulator.resources import Resource, last, link, stamp

LONGEST_WAIT: Final = 120.0
"""Seconds that `wait` holds back its answer at most."""
_LONGEST_CONSOLE: Final = 1 << 20

# Instances


def insert_instance(call: Call) -> Answer:
    body, template = dict(call.body), call.query.get("sourceInstanceTemplate")
    if template:
        body = {**templates.properties(call.world, call.project, template), **body}
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
    return call.told(templates.insert(call.world, call.project, call.body, call.now, call.request_id))


def get_template(call: Call) -> Answer:
    return _template(call.project, templates.get(call.world, call.project, call.name)).raw


def list_templates(call: Call) -> Answer:
    found = (_template(call.project, it) for it in templates.of_project(call.world, call.project))
    return pages.one_place("instanceTemplate", call.project, "global/instanceTemplates", found, call.ask)


def delete_template(call: Call) -> Answer:
    return call.told(templates.delete(call.world, call.project, call.name, call.now))
