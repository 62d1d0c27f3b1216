"""Whether a request for an instance can be carried out at all: what Compute Engine refuses at once, over HTTP."""

import re
from typing import Any, Final

from infra.emulator import catalogue
from infra.emulator.complaints import ApiError, Json, invalid, not_found, required, unsupported
from infra.emulator.resources import last, link

NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"[a-z][-_a-z0-9]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[-_a-z0-9]{0,63}")
_LARGEST_VALUE: Final = 256 * 1024
_ABSENT: Final = "The referenced resource does not exist."


def check(project: str, zone: str, body: Json) -> None:
    """Raise ApiError for the first thing that is wrong."""
    name = body.get("name")
    if not name:
        raise required("resource.name")
    if not NAME.fullmatch(str(name)):
        pattern = "(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
        raise invalid("resource.name", name, f"Must be a match of regex '{pattern}'")
    if not body.get("machineType"):
        raise required("resource.machineType")
    _machine(project, zone, body)
    _disks(project, zone, body)
    _labels(body.get("labels", {}))
    _metadata(body.get("metadata", {}).get("items", []))


def _machine(project: str, zone: str, body: Json) -> None:
    name = last(body["machineType"])
    kind = catalogue.MACHINE_TYPES.get(name)
    if kind is None or not catalogue.offers(zone, name):
        raise invalid(
            "resource.machineType",
            link(project, "zones", zone, "machineTypes", name),
            f"Machine type with name '{name}' does not exist in zone '{zone}'.",
        )
    attached = body.get("guestAccelerators", [])
    for index, gpu in enumerate(attached):
        _gpu(project, zone, kind, index, gpu)
    scheduling = body.get("scheduling", {})
    spot = scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible", False)
    stays = scheduling.get("onHostMaintenance", "TERMINATE" if spot else "MIGRATE")
    if (attached or kind.gpu) and stays != "TERMINATE":
        raise unsupported("Instances with guest accelerators do not support live migration.")
    if spot and scheduling.get("automaticRestart"):
        raise unsupported("Scheduling must have automaticRestart be false when preemptible is true.")
    duration = scheduling.get("maxRunDuration")
    if duration is not None and not 30 <= int(duration.get("seconds", 0)) <= 120 * 24 * 3600:
        raise invalid(
            "resource.scheduling.maxRunDuration", duration.get("seconds"), "Must be between 30 seconds and 120 days."
        )


def _gpu(project: str, zone: str, kind: catalogue.MachineType, index: int, gpu: Any) -> None:
    name, count = last(gpu.get("acceleratorType", "")), int(gpu.get("acceleratorCount", 1))
    if name not in catalogue.GPU_TYPES or name not in catalogue.ZONES[zone]:
        raise not_found(f"projects/{project}/zones/{zone}/acceleratorTypes/{name}")
    if not (kind.family == "n1" or (kind.gpu, kind.gpus) == (name, count)):
        raise unsupported(f"[{kind.name}, {name}] features are not compatible for creating instance.")
    if count > catalogue.GPU_TYPES[name].most:
        raise invalid(
            f"resource.guestAccelerators[{index}].acceleratorCount", count, f"At most {catalogue.GPU_TYPES[name].most}."
        )


def _disks(project: str, zone: str, body: Json) -> None:
    disks = body.get("disks", [])
    if not disks:
        raise ApiError(400, "required", "Invalid value for field 'resource.disks': ''. No disks are specified.")
    for index, disk in enumerate(disks):
        wanted = disk.get("initializeParams", {})
        image, field = wanted.get("sourceImage"), f"resource.disks[{index}].initializeParams"
        if image is not None:
            _image(image, field)
        disk_type = last(wanted.get("diskType", "pd-balanced"))
        if disk_type not in catalogue.DISK_TYPES:
            raise invalid(f"{field}.diskType", link(project, "zones", zone, "diskTypes", disk_type), _ABSENT)
        if disk_type == "pd-standard" and last(body["machineType"]).startswith("g2-"):
            raise unsupported("[g2, pd-standard] features are not compatible for creating instance.")


def _image(image: str, field: str) -> None:
    if not catalogue.well_formed_image(image):
        raise invalid(f"{field}.sourceImage", image, "The URL is malformed.")
    if catalogue.image_at(image) is None:
        path = image[image.index("projects/") :]
        if catalogue.is_family(path):
            raise not_found(path)
        full = f"https://www.googleapis.com/compute/v1/{path}"
        raise invalid(f"{field}.sourceImage", full, "The referenced image resource cannot be found.")


def _labels(labels: Json) -> None:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(str(value)):
            raise invalid(
                "resource.labels", f"{key}={value}", "Label keys and values need lower case, digits, - and _."
            )


def _metadata(items: list[Json]) -> None:
    keys = [str(it.get("key", "")) for it in items]
    if len(keys) != len(set(keys)):
        raise invalid("resource.metadata", ",".join(sorted(keys)), "Metadata has duplicate keys.")
    for it in items:
        if len(str(it.get("value", ""))) > _LARGEST_VALUE:
            raise invalid("resource.metadata.items.value", it["key"], "Metadata value is too large.")


def check_labels(labels: Json) -> None:
    """The same for labels alone. Raises ApiError."""
    _labels(labels)
