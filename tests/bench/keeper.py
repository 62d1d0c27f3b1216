"""A thousand steps of the keeper over 200 machines and 100,000 waiting images, against the emulator's API over HTTP.

The baseline is the listing alone: what a step costs beyond asking the cloud is ours.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.machines.cloud import Cloud
from infra.machines.spec import Gpu, MachineSpec
from infra.pool.keeper import Keeper, Market
from infra.pool.zones import Zone
from infra.records import Ledger, NewChunk, NewImage
from infra.states import SourceKind
from tests.bench.table import show
from tests.contract.keeper.simulated import IMAGE, ZONES, plan
from tests.emulated import emulator

STEPS = 1000
MACHINES = 200
IMAGES = 100_000
IMAGES_PER_CHUNK = 250


class AllAtWork:
    """Every machine that was asked for has joined and is busy."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def metadata(self) -> dict[str, str]:
        return {}

    def expect(self, name: str, zone: str) -> None:  # noqa: ARG002 - as the keeper asks
        self.names.add(name)

    def forget(self, name: str) -> None:
        self.names.discard(name)

    def refusal(self, name: str) -> str:  # noqa: ARG002 - as the keeper asks
        return ""

    def at_work(self) -> dict[str, bool]:
        return dict.fromkeys(self.names, True)


def measure() -> None:
    """Print milliseconds per step, and how they compare with the listing alone."""
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as folder, emulator(Path(folder), processes=False) as at:
        for metric, region in (("GPUS_ALL_REGIONS", None), *((m, r) for r in _regions() for m in _METRICS)):
            at.remote.quota(metric, 1000, region)
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        ledger.migrate()
        _hand_in(ledger)
        cloud = Cloud.at("bench", at.url)
        keeper = _keeper(ledger, cloud)
        until = time.monotonic() + 300
        while len(cloud.listing("bench").instances) < MACHINES:
            keeper.step(datetime.now(UTC))
            assert time.monotonic() < until, "the machines did not come"
        for _ in range(5):
            keeper.step(datetime.now(UTC))
        listings, steps = [], []
        for number in range(STEPS):
            began = time.perf_counter()
            keeper.step(datetime.now(UTC))
            steps.append((time.perf_counter() - began) * 1000)
            if number % 5 == 0:
                began = time.perf_counter()
                cloud.listing("bench")
                listings.append((time.perf_counter() - began) * 1000)
        step, listing = statistics.median(steps), statistics.median(listings)
        slow = statistics.quantiles(steps, n=100)[94]
        show(
            f"{STEPS} steps of the keeper, {MACHINES} machines, {IMAGES:,} waiting images (SQLite, HTTP on loopback)",
            ("", "ms, median", "ms, 95 %", "÷ the listing alone"),
            [
                ("one step", step, slow, step / listing),
                ("the listing alone", listing, statistics.quantiles(listings, n=100)[94], 1.0),
            ],
        )


_METRICS = ("PREEMPTIBLE_NVIDIA_L4_GPUS", "PREEMPTIBLE_CPUS", "CPUS", "INSTANCES", "NVIDIA_L4_GPUS")


def _regions() -> set[str]:
    return {zone.rpartition("-")[0] for zone in ZONES}


def _hand_in(ledger: Ledger) -> None:
    now = datetime.now(UTC)
    batch = ledger.take("many", kind=SourceKind.FOLDER, source="many", fingerprint="1", model="fast", scale=2, now=now)
    assert batch is not None
    names = [f"{number}.png" for number in range(IMAGES)]
    images = [NewImage(name, name, 100_000, 1000, 1000) for name in names]
    starts = range(0, IMAGES, IMAGES_PER_CHUNK)
    chunks = [NewChunk(names[at : at + IMAGES_PER_CHUNK], IMAGES_PER_CHUNK * 1_000_000) for at in starts]
    ledger.register(batch.id, images, chunks, now)
    ledger.start(batch.id, now)


def _keeper(ledger: Ledger, cloud: Cloud) -> Keeper:
    life = ledger.open_life(datetime.now(UTC))
    assert life is not None
    life = ledger.life_is_open(life.id, "tls://127.0.0.1:1", datetime.now(UTC))
    spec = MachineSpec("g2-standard-4", None, IMAGE, "", timedelta(hours=12))
    zones = tuple(Zone(name, 0.3) for name in ZONES)
    market = Market(spec, "bench", zones, dict.fromkeys(ZONES, 0.7), Gpu("nvidia-l4"))
    limits = plan(machines=MACHINES, least_machines=MACHINES, boot_deadline=3600.0)
    return Keeper(ledger, life, limits, market, cloud, AllAtWork(), ThreadPoolExecutor(8), lambda _: None)
