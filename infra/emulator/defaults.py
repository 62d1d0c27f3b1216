"""What Compute Engine adds to a request for an instance: the links, and all that was left to its defaults."""

from infra.emulator import catalogue
from infra.emulator.complaints import Json
from infra.emulator.resources import fingerprint, last, link, number_of, region_of


def completed(project: str, zone: str, name: str, body: Json, address: str) -> Json:
    """What a request asks for, with what the cloud adds to it: the part of an instance that never changes."""
    region = region_of(zone)
    machine_type = last(body["machineType"])
    asked: Json = {
        "machineType": link(project, "zones", zone, "machineTypes", machine_type),
        "canIpForward": bool(body.get("canIpForward", False)),
        "tags": {**body.get("tags", {}), "fingerprint": fingerprint(body.get("tags", {}).get("items", []))},
        "scheduling": _scheduling(body.get("scheduling", {})),
        "shieldedInstanceConfig": {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "shieldedInstanceIntegrityPolicy": {"updateAutoLearnPolicy": True},
    }
    for plain in ("description", "hostname", "minCpuPlatform", "resourcePolicies"):
        if plain in body:
            asked[plain] = body[plain]
    items = [{"key": it["key"], "value": it.get("value", "")} for it in body.get("metadata", {}).get("items", [])]
    asked["metadata"] = {"kind": "compute#metadata", "fingerprint": fingerprint(items)}
    if items:
        asked["metadata"]["items"] = items
    gpus = [
        {
            "acceleratorType": link(project, "zones", zone, "acceleratorTypes", last(it["acceleratorType"])),
            "acceleratorCount": int(it.get("acceleratorCount", 1)),
        }
        for it in body.get("guestAccelerators", [])
    ]
    if gpus:
        asked["guestAccelerators"] = gpus
    accounts = [
        {"email": _account(project, it.get("email", "default")), "scopes": list(it.get("scopes", []))}
        for it in body.get("serviceAccounts", [])
    ]
    if accounts:
        asked["serviceAccounts"] = accounts
    asked["disks"] = [_disk(project, zone, name, index, disk) for index, disk in enumerate(body.get("disks", []))]
    asked["networkInterfaces"] = [_interface(project, region, index, it, address) for index, it in enumerate(
        body.get("networkInterfaces") or [{}]
    )]  # fmt: skip
    return asked


def _account(project: str, email: str) -> str:
    return default_account(project) if email == "default" else email


def default_account(project: str) -> str:
    """E-mail of the account that machines act as if they are to act as `default`."""
    return f"{number_of(project)}-compute@developer.gserviceaccount.com"


def _scheduling(given: Json) -> Json:
    spot = given.get("provisioningModel") == "SPOT" or given.get("preemptible", False)
    scheduling: Json = {
        "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
        "automaticRestart": not spot,
        "preemptible": bool(spot),
        **given,
    }
    scheduling["provisioningModel"] = "SPOT" if spot else given.get("provisioningModel", "STANDARD")
    scheduling["preemptible"] = bool(spot)
    if spot:
        scheduling.setdefault("instanceTerminationAction", "STOP")
    for duration in ("maxRunDuration", "preemptionNoticeDuration"):
        if duration in scheduling:
            scheduling[duration] = {**scheduling[duration], "seconds": str(scheduling[duration].get("seconds", "0"))}
    return scheduling


def _disk(project: str, zone: str, name: str, index: int, disk: Json) -> Json:
    wanted = disk.get("initializeParams", {})
    disk_name = wanted.get("diskName") or (name if index == 0 else f"{name}-{index}")
    image = catalogue.image_at(wanted.get("sourceImage", ""))
    size = wanted.get("diskSizeGb") or (image.disk_gib if image else 10)
    source = disk.get("source") or link(project, "zones", zone, "disks", disk_name)
    return {
        "kind": "compute#attachedDisk",
        "type": disk.get("type", "PERSISTENT"),
        "mode": disk.get("mode", "READ_WRITE"),
        "source": source,
        "deviceName": disk.get("deviceName") or f"persistent-disk-{index}",
        "index": index,
        "boot": bool(disk.get("boot", False)),
        "autoDelete": bool(disk.get("autoDelete", False)),
        "interface": "SCSI",
        "diskSizeGb": str(size),
        "architecture": "X86_64",
    }


def _interface(project: str, region: str, index: int, given: Json, address: str) -> Json:
    interface: Json = {
        "kind": "compute#networkInterface",
        "network": link(project, "global", "networks", last(given.get("network", "default"))),
        "subnetwork": link(project, "regions", region, "subnetworks", last(given.get("subnetwork", "default"))),
        "networkIP": address,
        "name": f"nic{index}",
        "fingerprint": fingerprint([address, index]),
        "stackType": "IPV4_ONLY",
    }
    outside = [
        {
            "kind": "compute#accessConfig",
            "type": it.get("type", "ONE_TO_ONE_NAT"),
            "name": it.get("name", "External NAT"),
            "natIP": address,
            "networkTier": "PREMIUM",
        }
        for it in given.get("accessConfigs", [])
    ]
    return interface | ({"accessConfigs": outside} if outside else {})
