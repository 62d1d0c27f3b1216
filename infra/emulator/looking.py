"""What the requests about the catalogue do: looking is all that can be done with it."""

from collections.abc import Callable

from infra.emulator import catalogue, complaints, offers, pages
from infra.emulator.call import ZONES, Answer, Call, Handler
from infra.emulator.complaints import Json
from infra.emulator.resources import Resource, last, link, number_of, stamp


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


def get_of_zone(field: str, offered: Offered) -> Handler:
    return lambda call: _get(offered(call.project, call.zone), call, f"zones/{call.zone}/{field}")


def list_of_zone(kind: str, field: str, offered: Offered) -> Handler:
    return lambda call: pages.one_place(
        kind, call.project, f"zones/{call.zone}/{field}", offered(call.project, call.zone), call.ask
    )


def aggregated(kind: str, field: str, places: list[str], offered: Offered) -> Handler:
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
