"""Trouble that the emulated cloud is in: what may be ordered, and what of it is left.

An order is a small JSON object: `{"fault": "stockout", "zone": "us-central1-a", "seconds": 60}`. The same objects
stand in scripts, go over the control API, and are made by `remote.Remote`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from infra.emulator import catalogue


class UnknownFault(ValueError):
    """There is no such trouble, or its details are wrong; a sentence."""


@dataclass
class Turns:
    """How often, and for how long, a trouble happens."""

    times: int | None = None
    """None: any number of times."""
    until: float | None = None
    """None: for ever."""

    def left(self, now: float) -> bool:
        return (self.times is None or self.times > 0) and (self.until is None or now < self.until)

    def take(self, now: float) -> bool:
        """Whether it happens now; that uses one up."""
        if not self.left(now):
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def json(self, now: float) -> dict[str, Any]:
        left = {} if self.until is None else {"seconds": round(max(0.0, self.until - now), 3)}
        return left | ({} if self.times is None else {"times": self.times})


def _never() -> Turns:
    return Turns(times=0)


@dataclass
class Stockout:
    turns: Turns
    elsewhere: tuple[str, ...] | None = None
    """Zones that the error says have some; None: it does not say."""


@dataclass
class Faults:
    """All of it at once. Whoever meets one of them asks `take`, which uses one up."""

    stockouts: dict[str, Stockout] = field(default_factory=dict)
    """By zone."""
    unreachable: dict[str, Turns] = field(default_factory=dict)
    """Zones that listings say nothing about."""
    quotas: dict[tuple[str, str], float] = field(default_factory=dict)
    """By region, empty for the whole project, and metric."""
    rate_limit: Turns = field(default_factory=_never)
    unavailable: Turns = field(default_factory=_never)
    lost_answers: Turns = field(default_factory=_never)
    failing_deletes: Turns = field(default_factory=_never)
    failing_deletes_http: Turns = field(default_factory=_never)
    slow_boot: Turns = field(default_factory=_never)
    slow_boot_seconds: float = 0.0
    no_boot: Turns = field(default_factory=_never)
    preempt_early: Turns = field(default_factory=_never)

    def limit(self, region: str, metric: str) -> float | None:
        """The quota of a region, or of all regions when it is empty. None: there is no such quota."""
        defaults = catalogue.REGION_QUOTAS if region else catalogue.PROJECT_QUOTAS
        return self.quotas.get((region, metric), defaults.get(metric))

    def stockout(self, zone: str, now: float) -> Stockout | None:
        found = self.stockouts.get(zone)
        return found if found is not None and found.turns.take(now) else None

    def json(self, now: float) -> list[dict[str, Any]]:
        """What is left of all orders, as orders."""
        orders: list[dict[str, Any]] = [
            {"fault": "stockout", "zone": zone, **it.turns.json(now)}
            | ({} if it.elsewhere is None else {"zones_available": list(it.elsewhere)})
            for zone, it in self.stockouts.items()
            if it.turns.left(now)
        ]
        orders += [
            {"fault": "unreachable", "zone": zone, **turns.json(now)}
            for zone, turns in self.unreachable.items()
            if turns.left(now)
        ]
        orders += [
            {"fault": "quota", "region": region or None, "metric": metric, "limit": limit}
            for (region, metric), limit in self.quotas.items()
        ]
        for fault, attribute in _COUNTED.items():
            turns: Turns = getattr(self, attribute)
            if turns.left(now):
                delay = {"delay": self.slow_boot_seconds} if fault == "slow_boot" else {}
                orders.append({"fault": fault, **turns.json(now), **delay})
        for how, turns in (("operation", self.failing_deletes), ("http", self.failing_deletes_http)):
            if turns.left(now):
                orders.append({"fault": "delete_fails", "how": how, **turns.json(now)})
        return orders

    def order(self, order: Mapping[str, Any], now: float) -> None:
        """Begin, change or end one trouble, or do nothing and raise UnknownFault."""
        given = dict(order)
        fault = given.pop("fault", None)
        if fault not in KNOWN:
            raise UnknownFault(f"there is no fault {fault!r}; known are {', '.join(KNOWN)}")
        try:
            begin = self._understood(str(fault), given, now)
        except UnknownFault:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UnknownFault(f"fault {fault} is not told rightly: {error!r}") from error
        if given:
            raise UnknownFault(f"fault {fault} takes no {', '.join(given)}")
        begin()

    def _understood(self, fault: str, given: dict[str, Any], now: float) -> Callable[[], None]:
        """What the order does; its details are taken out of `given`."""
        if fault == "quota":
            return self._quota(str(given.pop("region", None) or ""), str(given.pop("metric")), given.pop("limit", None))
        if fault in ("stockout", "unreachable"):
            return self._of_zone(fault, given, now)
        delay = float(given.pop("delay")) if fault == "slow_boot" else self.slow_boot_seconds
        attribute = _DELETES[given.pop("how", "operation")] if fault == "delete_fails" else _COUNTED[fault]
        turns = _turns(given, now)

        def begin() -> None:
            self.slow_boot_seconds = delay
            setattr(self, attribute, turns)

        return begin

    def _of_zone(self, fault: str, given: dict[str, Any], now: float) -> Callable[[], None]:
        zone = str(given.pop("zone"))
        if zone not in catalogue.ZONES:
            raise UnknownFault(f"there is no zone {zone}")
        turns = _turns(given, now)
        if fault == "unreachable":
            return partial(self.unreachable.__setitem__, zone, turns)
        elsewhere = given.pop("zones_available", None)
        stockout = Stockout(turns, None if elsewhere is None else tuple(map(str, elsewhere)))
        return partial(self.stockouts.__setitem__, zone, stockout)

    def _quota(self, region: str, metric: str, limit: object) -> Callable[[], None]:
        if region and region not in catalogue.REGIONS:
            raise UnknownFault(f"there is no region {region}")
        if metric not in (catalogue.REGION_QUOTAS if region else catalogue.PROJECT_QUOTAS):
            where = f"region {region}" if region else "the project (for a region's quota, name the region)"
            raise UnknownFault(f"there is no quota {metric} of {where}")
        if limit is None:
            return partial(self._forget_quota, (region, metric))
        return partial(self.quotas.__setitem__, (region, metric), float(str(limit)))

    def _forget_quota(self, quota: tuple[str, str]) -> None:
        self.quotas.pop(quota, None)


_COUNTED = {
    "rate_limit": "rate_limit",
    "unavailable": "unavailable",
    "lose_answer": "lost_answers",
    "slow_boot": "slow_boot",
    "no_boot": "no_boot",
    "preempt_early": "preempt_early",
}
_DELETES = {"operation": "failing_deletes", "http": "failing_deletes_http"}
KNOWN = (*_COUNTED, "delete_fails", "stockout", "unreachable", "quota", "preempt")
"""`preempt` is carried out by the world at once; all others wait here."""


def _turns(given: dict[str, Any], now: float) -> Turns:
    if given.pop("off", False):
        return _never()
    times, seconds = given.pop("times", None), given.pop("seconds", None)
    return Turns(None if times is None else int(times), None if seconds is None else now + float(seconds))
