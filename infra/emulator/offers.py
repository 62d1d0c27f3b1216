"""The catalogue in the words of the API: zones, regions with their quotas, machine types, GPUs, images and networks."""

from collections.abc import Mapping
from functools import lru_cache

from infra.emulator import catalogue
from infra.emulator.catalogue import GpuType, Image, MachineType
from infra.emulator.complaints import Json
from infra.emulator.defaults import default_account
from infra.emulator.faults import Faults
from infra.emulator.resources import LONG_AGO, Resource, fingerprint, link, number_of, region_of

Usage = Mapping[tuple[str, str], float]


def _head(kind: str, project: str, path: str, name: str) -> Json:
    return {
        "kind": f"compute#{kind}",
        "id": number_of(path),
        "creationTimestamp": LONG_AGO,
        "name": name,
        "selfLink": link(project, path),
    }


@lru_cache(maxsize=64)
def zones(project: str) -> list[Resource]:
    return [
        Resource(
            _head("zone", project, f"zones/{zone}", zone)
            | {
                "description": zone,
                "status": "UP",
                "region": link(project, "regions", region_of(zone)),
                "availableCpuPlatforms": ["Intel Broadwell", "Intel Cascade Lake"],
                "supportsPzs": False,
            }
        )
        for zone in sorted(catalogue.ZONES)
    ]


def regions(project: str, faults: Faults, usage: Usage) -> list[Resource]:
    return [
        Resource(
            _head("region", project, f"regions/{region}", region)
            | {
                "description": region,
                "status": "UP",
                "zones": [link(project, "zones", zone) for zone in catalogue.REGIONS[region]],
                "quotas": [_quota(faults, usage, region, metric) for metric in catalogue.REGION_QUOTAS],
                "supportsPzs": False,
            }
        )
        for region in sorted(catalogue.REGIONS)
    ]


def the_project(project: str, faults: Faults, usage: Usage) -> Resource:
    return Resource(
        {
            "kind": "compute#project",
            "id": number_of(project),
            "creationTimestamp": LONG_AGO,
            "name": project,
            "selfLink": link(project).rstrip("/"),
            "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint([])},
            "quotas": [_quota(faults, usage, "", metric) for metric in catalogue.PROJECT_QUOTAS],
            "defaultServiceAccount": default_account(project),
            "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
            "defaultNetworkTier": "PREMIUM",
            "vmDnsSetting": "ZONAL_ONLY",
        }
    )


def _quota(faults: Faults, usage: Usage, region: str, metric: str) -> Json:
    return {"metric": metric, "limit": faults.limit(region, metric), "usage": usage.get((region, metric), 0.0)}


@lru_cache(maxsize=512)
def machine_types(project: str, zone: str) -> list[Resource]:
    offered = [it for name, it in sorted(catalogue.MACHINE_TYPES.items()) if catalogue.offers(zone, name)]
    return [Resource(_machine_type(project, zone, it)) for it in offered]


def _machine_type(project: str, zone: str, it: MachineType) -> Json:
    answer = _head("machineType", project, f"zones/{zone}/machineTypes/{it.name}", it.name) | {
        "description": f"{it.cpus} vCPUs, {it.memory_mb / 1024:g} GB RAM" + (f", {it.gpus} {it.gpu}" if it.gpu else ""),
        "guestCpus": it.cpus,
        "memoryMb": it.memory_mb,
        "imageSpaceGb": 0,
        "maximumPersistentDisks": 128,
        "maximumPersistentDisksSizeGb": "263168",
        "zone": zone,
        "isSharedCpu": it.name in ("e2-micro", "e2-small", "e2-medium"),
        "architecture": "X86_64",
    }
    if it.gpu:
        answer["accelerators"] = [{"guestAcceleratorType": it.gpu, "guestAcceleratorCount": it.gpus}]
    return answer


@lru_cache(maxsize=512)
def gpu_types(project: str, zone: str) -> list[Resource]:
    return [Resource(_gpu_type(project, zone, catalogue.GPU_TYPES[name])) for name in sorted(catalogue.ZONES[zone])]


def _gpu_type(project: str, zone: str, it: GpuType) -> Json:
    return _head("acceleratorType", project, f"zones/{zone}/acceleratorTypes/{it.name}", it.name) | {
        "description": it.description,
        "zone": link(project, "zones", zone),
        "maximumCardsPerInstance": it.most,
    }


@lru_cache(maxsize=512)
def disk_types(project: str, zone: str) -> list[Resource]:
    return [
        Resource(
            _head("diskType", project, f"zones/{zone}/diskTypes/{name}", name)
            | {
                "description": name,
                "zone": link(project, "zones", zone),
                "validDiskSize": "10GB-65536GB",
                "defaultDiskSizeGb": "100",
            }
        )
        for name in catalogue.DISK_TYPES
    ]


@lru_cache(maxsize=64)
def images(project: str) -> list[Resource]:
    return [image(it) for it in catalogue.images_of(project)]


def image(it: Image) -> Resource:
    return Resource(
        _head("image", it.project, f"global/images/{it.name}", it.name)
        | {
            "description": it.name,
            "family": it.family,
            "status": "READY",
            "sourceType": "RAW",
            "architecture": "X86_64",
            "diskSizeGb": str(it.disk_gib),
            "archiveSizeBytes": "1000000000",
            "storageLocations": ["us"],
            "labelFingerprint": fingerprint({}),
        }
    )


@lru_cache(maxsize=64)
def networks(project: str) -> list[Resource]:
    return [
        Resource(
            _head("network", project, "global/networks/default", "default")
            | {
                "description": "Default network for the project",
                "autoCreateSubnetworks": True,
                "subnetworks": [link(project, "regions", it, "subnetworks", "default") for it in catalogue.REGIONS],
                "routingConfig": {"routingMode": "REGIONAL"},
            }
        )
    ]


@lru_cache(maxsize=64)
def subnetworks(project: str, region: str) -> list[Resource]:
    path = f"regions/{region}/subnetworks/default"
    return [
        Resource(
            _head("subnetwork", project, path, "default")
            | {
                "network": link(project, "global", "networks", "default"),
                "region": link(project, "regions", region),
                "ipCidrRange": "127.88.0.0/16",
                "gatewayAddress": "127.88.0.1",
                "privateIpGoogleAccess": False,
                "purpose": "PRIVATE",
                "stackType": "IPV4_ONLY",
            }
        )
    ]
