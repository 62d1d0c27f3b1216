"""What the emulated cloud offers: regions, zones, machine types, GPUs, quotas and boot images. Values only.

Small, but true where it matters to somebody who rents GPUs: which zone has which GPU, what a machine type brings
with it, and which quota counts what.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class MachineType:
    """A machine type. Those of g2 and a2 bring their GPUs; to n1 GPUs may be attached."""

    name: str
    cpus: int
    memory_mb: int
    gpu: str = ""
    gpus: int = 0

    @property
    def family(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class GpuType:
    name: str
    description: str
    most: int
    """How many one machine may have."""
    quota: str
    product: str
    """As nvidia-smi calls it."""
    memory_mib: int


@dataclass(frozen=True)
class Image:
    project: str
    name: str
    family: str
    disk_gib: int = 10


def _n1(kind: str, memory_per_cpu: int) -> list[MachineType]:
    return [MachineType(f"n1-{kind}-{n}", n, n * memory_per_cpu) for n in (1, 2, 4, 8, 16, 32)]


MACHINE_TYPES: Final = {
    it.name: it
    for it in [
        *_n1("standard", 3840),
        *_n1("highmem", 6656)[1:],
        MachineType("e2-micro", 2, 1024),
        MachineType("e2-small", 2, 2048),
        MachineType("e2-medium", 2, 4096),
        MachineType("e2-standard-2", 2, 8192),
        MachineType("e2-standard-4", 4, 16384),
        MachineType("e2-standard-8", 8, 32768),
        MachineType("g2-standard-4", 4, 16384, "nvidia-l4", 1),
        MachineType("g2-standard-8", 8, 32768, "nvidia-l4", 1),
        MachineType("g2-standard-12", 12, 49152, "nvidia-l4", 1),
        MachineType("g2-standard-16", 16, 65536, "nvidia-l4", 1),
        MachineType("g2-standard-24", 24, 98304, "nvidia-l4", 2),
        MachineType("g2-standard-48", 48, 196608, "nvidia-l4", 4),
        MachineType("a2-highgpu-1g", 12, 87040, "nvidia-tesla-a100", 1),
        MachineType("a2-highgpu-2g", 24, 174080, "nvidia-tesla-a100", 2),
        MachineType("a2-highgpu-4g", 48, 348160, "nvidia-tesla-a100", 4),
    ]
}

GPU_TYPES: Final = {
    it.name: it
    for it in [
        GpuType("nvidia-tesla-t4", "NVIDIA T4", 4, "NVIDIA_T4_GPUS", "Tesla T4", 15360),
        GpuType("nvidia-l4", "NVIDIA L4", 8, "NVIDIA_L4_GPUS", "NVIDIA L4", 23034),
        GpuType("nvidia-tesla-v100", "NVIDIA V100", 8, "NVIDIA_V100_GPUS", "Tesla V100-SXM2-16GB", 16384),
        GpuType("nvidia-tesla-a100", "NVIDIA A100 40GB", 16, "NVIDIA_A100_GPUS", "NVIDIA A100-SXM4-40GB", 40960),
    ]
}

_T4, _L4, _V100, _A100 = GPU_TYPES

ZONES: Final[dict[str, frozenset[str]]] = {
    "us-central1-a": frozenset({_T4, _L4, _V100, _A100}),
    "us-central1-b": frozenset({_T4, _L4, _V100, _A100}),
    "us-central1-c": frozenset({_T4, _L4, _V100, _A100}),
    "us-central1-f": frozenset({_T4, _V100, _A100}),
    "us-east1-b": frozenset({_L4, _A100}),
    "us-east1-c": frozenset({_T4, _L4, _V100}),
    "us-east1-d": frozenset({_T4, _L4}),
    "us-east4-a": frozenset({_T4, _L4}),
    "us-east4-b": frozenset({_T4}),
    "us-east4-c": frozenset({_T4, _L4}),
    "us-west1-a": frozenset({_T4, _L4, _V100}),
    "us-west1-b": frozenset({_T4, _L4, _V100, _A100}),
    "us-west1-c": frozenset({_L4}),
    "us-west4-a": frozenset({_L4}),
    "us-west4-c": frozenset({_L4}),
    "europe-west1-b": frozenset({_T4, _L4}),
    "europe-west1-c": frozenset({_T4, _L4}),
    "europe-west1-d": frozenset({_T4}),
    "europe-west4-a": frozenset({_T4, _L4, _V100, _A100}),
    "europe-west4-b": frozenset({_T4, _L4, _V100, _A100}),
    "europe-west4-c": frozenset({_T4, _L4, _V100}),
    "asia-southeast1-a": frozenset({_T4, _L4}),
    "asia-southeast1-b": frozenset({_T4, _L4, _A100}),
    "asia-southeast1-c": frozenset({_T4, _L4, _A100}),
}
"""Each zone with the GPUs that it offers."""

REGIONS: Final = {
    region: tuple(zone for zone in ZONES if zone.rpartition("-")[0] == region)
    for region in dict.fromkeys(zone.rpartition("-")[0] for zone in ZONES)
}

DISK_TYPES: Final = ("pd-balanced", "pd-ssd", "pd-standard", "pd-extreme", "hyperdisk-balanced")

REGION_QUOTAS: Final[dict[str, float]] = {
    "CPUS": 10_000,
    "PREEMPTIBLE_CPUS": 10_000,
    "INSTANCES": 10_000,
    **{gpu.quota: 1_000 for gpu in GPU_TYPES.values()},
    **{f"PREEMPTIBLE_{gpu.quota}": 1_000 for gpu in GPU_TYPES.values()},
}
ALL_GPUS: Final = "GPUS_ALL_REGIONS"
PROJECT_QUOTAS: Final[dict[str, float]] = {ALL_GPUS: 2_000, "NETWORKS": 5, "IMAGES": 2_000}

IMAGES: Final = (
    Image("debian-cloud", "debian-12-bookworm-v20260908", "debian-12"),
    Image("debian-cloud", "debian-13-trixie-v20260908", "debian-13"),
    Image("ubuntu-os-cloud", "ubuntu-2204-jammy-v20260906", "ubuntu-2204-lts"),
    Image("ubuntu-os-cloud", "ubuntu-2404-noble-amd64-v20260906", "ubuntu-2404-lts-amd64"),
    Image("cos-cloud", "cos-stable-121-18867-199-38", "cos-stable", 10),
    Image(
        "deeplearning-platform-release",
        "common-cu128-ubuntu-2204-nvidia-570-v20260901",
        "common-cu128-ubuntu-2204-nvidia-570",
        50,
    ),
    Image(
        "deeplearning-platform-release",
        "common-cu129-ubuntu-2204-nvidia-580-v20260901",
        "common-cu129-ubuntu-2204-nvidia-580",
        50,
    ),
)
OWN_IMAGES: Final = (("spotlift-worker-v1", "spotlift-worker"), ("spotlift-v1", "spotlift"))
"""Name and family of the images that every project has of its own."""

_IMAGE_PATH = re.compile(
    r"(?:.*/)?projects/([^/]+)/(?:global/images|(?P<views>zones/[^/]+/imageFamilyViews))/(?P<family>family/)?([^/]+)$"
)
"""gcloud asks for what a zone has of a family, a view of it."""


def offers(zone: str, machine_type: str) -> bool:
    """Whether the zone offers that machine type at all, in stock or not."""
    kind = MACHINE_TYPES.get(machine_type)
    return kind is not None and (not kind.gpu or kind.gpu in ZONES[zone])


def images_of(project: str) -> list[Image]:
    """All boot images of a project."""
    own = () if any(it.project == project for it in IMAGES) else OWN_IMAGES
    return [it for it in IMAGES if it.project == project] + [Image(project, name, family) for name, family in own]


def newest_of_family(project: str, family: str) -> Image | None:
    return next((it for it in reversed(images_of(project)) if it.family == family), None)


def image_at(path: str) -> Image | None:
    """The boot image of such a path: of one image, or the newest of a family. None: there is none."""
    found = _IMAGE_PATH.match(path)
    if found is None:
        return None
    project, view, family, name = found.groups()
    if family or view:
        return newest_of_family(project, name)
    return next((it for it in images_of(project) if it.name == name), None)


def is_family(path: str) -> bool:
    """Whether a path is that of a family of images."""
    return "/images/family/" in path or "/imageFamilyViews/" in path


def well_formed_image(path: str) -> bool:
    return _IMAGE_PATH.match(path) is not None
