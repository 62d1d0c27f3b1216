"""Which request leads to what: the methods of the compute API that the emulator offers, in one table."""

import re
from typing import Final

from infra.emulator import calls, looking, offers
from infra.emulator.call import REGIONS, ZONES, Handler
from infra.emulator.complaints import ApiError

_INSTANCES = "zones/{zone}/instances"
_TABLE: Final[list[tuple[str, str, Handler]]] = [
    ("GET", "", looking.the_project),
    ("POST", _INSTANCES, calls.insert_instance),
    ("GET", _INSTANCES, calls.list_instances),
    ("POST", f"{_INSTANCES}/bulkInsert", calls.bulk_in_zone),
    ("POST", "regions/{region}/instances/bulkInsert", calls.bulk_in_region),
    ("GET", f"{_INSTANCES}/{{name}}", calls.get_instance),
    ("DELETE", f"{_INSTANCES}/{{name}}", calls.delete_instance),
    ("POST", f"{_INSTANCES}/{{name}}/stop", calls.stop_instance),
    ("POST", f"{_INSTANCES}/{{name}}/setLabels", calls.set_labels),
    ("POST", f"{_INSTANCES}/{{name}}/simulateMaintenanceEvent", calls.simulate_maintenance),
    ("GET", f"{_INSTANCES}/{{name}}/serialPort", calls.serial_port),
    ("GET", "aggregated/instances", calls.aggregated_instances),
    ("GET", "aggregated/operations", calls.aggregated_operations),
    *(
        row
        for scope in ("zones/{zone}", "regions/{region}", "global")
        for row in (
            ("GET", f"{scope}/operations", calls.list_operations),
            ("GET", f"{scope}/operations/{{name}}", calls.get_operation),
            ("POST", f"{scope}/operations/{{name}}/wait", calls.wait_operation),
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
            ("GET", f"zones/{{zone}}/{field}", looking.list_of_zone(kind, field, offered)),
            ("GET", f"zones/{{zone}}/{field}/{{name}}", looking.get_of_zone(field, offered)),
            ("GET", f"aggregated/{field}", looking.aggregated(kind, field, ZONES, offered)),
        )
    ),
    ("GET", "zones", looking.list_zones),
    ("GET", "zones/{name}", looking.get_zone),
    ("GET", "regions", looking.list_regions),
    ("GET", "regions/{name}", looking.get_region),
    ("GET", "global/images", looking.list_images),
    ("GET", "global/images/{name}", looking.get_image),
    ("GET", "global/images/family/{name}", looking.image_of_family),
    ("GET", "global/networks", looking.list_networks),
    ("GET", "global/networks/{name}", looking.get_network),
    ("GET", "regions/{region}/subnetworks", looking.list_subnetworks),
    ("GET", "regions/{region}/subnetworks/{name}", looking.get_subnetwork),
    ("GET", "aggregated/subnetworks", looking.aggregated("subnetwork", "subnetworks", REGIONS, offers.subnetworks)),
    ("GET", "zones/{zone}/disks", looking.list_disks),
    ("GET", "zones/{zone}/disks/{name}", looking.get_disk),
    ("GET", "aggregated/disks", looking.aggregated_disks),
    ("POST", "global/instanceTemplates", calls.insert_template),
    ("GET", "global/instanceTemplates", calls.list_templates),
    ("GET", "global/instanceTemplates/{name}", calls.get_template),
    ("DELETE", "global/instanceTemplates/{name}", calls.delete_template),
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
    return handler in (calls.insert_instance, calls.bulk_in_zone, calls.bulk_in_region)
