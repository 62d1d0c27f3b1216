"""What one life of the pool rents, where it may, and what that costs there."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import infra.machines
from infra.machines.errors import CloudError
from infra.machines.prices import price_of, read_prices
from infra.machines.spec import LONGEST_NOTICE, Gpu, MachineSpec
from infra.pool.keeper import Market
from infra.pool.plan import PoolPlan
from infra.pool.zones import Zone
from infra.settings import Settings

if TYPE_CHECKING:  # Google's client takes a second to import, and `doctor` only wants the spec
    from infra.machines.cloud import Cloud

STARTUP = Path(infra.machines.__file__).parent / "startup.sh"
TAG = "spotlift-machine"
"""Network tag of our machines, for the firewall rule that lets them reach the scheduler."""


def spec_of(settings: Settings, plan: PoolPlan) -> MachineSpec:
    """What is asked for."""
    return MachineSpec(
        machine_type=plan.machine_type,
        gpu=Gpu(plan.gpu, plan.gpus) if plan.gpu else None,
        image=settings.boot_image,
        startup_script=STARTUP.read_text(encoding="utf-8"),
        max_run=timedelta(seconds=plan.max_run),
        spot=plan.spot,
        notice=LONGEST_NOTICE if plan.spot and settings.notice else None,
        network=settings.network,
        subnetwork=settings.subnetwork,
        external_address=settings.external_address,
        service_account=settings.machine_account,
        tags=(TAG,),
    )


def market_of(settings: Settings, plan: PoolPlan, cloud: "Cloud", say: Callable[[str], None]) -> Market:
    """Spec, zones and prices. Zones that do not offer such a machine are passed over.

    If the cloud cannot say which they are, there is none, and the market says why: ask again. Raises PricesError for
    a price file that cannot be read.
    """
    spec = spec_of(settings, plan)
    prices = read_prices(settings.prices)
    gpu, names = spec.gpu, tuple(plan.zones)
    try:
        offered = set(cloud.zones_with(spec))
        if passed_over := [name for name in names if name not in offered]:
            say(f"{', '.join(passed_over)} do not offer {_called(spec)}, and are passed over")
        names = tuple(name for name in names if name in offered)
        if gpu is None and names:
            gpu = cloud.gpus_of(spec.machine_type, names[0])
    except CloudError as error:
        return Market(spec, settings.pool, (), {}, gpu, unknown=error)
    known = {name: price_of(spec.machine_type, gpu, name, prices) for name in names}
    zones = tuple(Zone(n, (p.spot if spec.spot else p.on_demand) if p else None) for n, p in known.items())
    on_demand = {name: price.on_demand for name, price in known.items() if price}
    return Market(spec, settings.pool, zones, on_demand, gpu)


def _called(spec: MachineSpec) -> str:
    return f"{spec.machine_type} with {spec.gpu.count} × {spec.gpu.type}" if spec.gpu else spec.machine_type
