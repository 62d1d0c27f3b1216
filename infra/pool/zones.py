"""Where to rent: the best zone first, with a memory of stockouts and preemptions that fades.

Pure. Machines are spread over zones before anything else: on recorded traces of spot machines, several zones do
better than any clever choice of a single one (docs/decisions/0011).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.machines.orders import region_of
from infra.states import NEVER_CAME, MachineEnd

LONGEST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE_OF_BOOTS = timedelta(hours=6)
"""To be refused costs nothing; a machine that never checks in is paid for until its boot deadline."""
FADES = {MachineEnd.STOCKOUT: timedelta(minutes=10), MachineEnd.PREEMPTED: timedelta(hours=1)}
"""Half-lives. A fresh stockout or preemption counts as much as one machine that is in the zone already."""
BOOT_FAILURES = 3
"""Machines in a row that never check in, after which the next is tried only after a pause."""
BOOT_FAILURES_FOR_GOOD = 5
"""… and after which nobody believes that the next will: a person must look."""


@dataclass(frozen=True)
class Zone:
    """A zone in which machines may be rented."""

    name: str
    price: float | None = None
    """US dollars per hour for one machine; None when no price is known."""

    @property
    def region(self) -> str:
        return region_of(self.name)


@dataclass(frozen=True)
class Past:
    """What became of a machine that was asked for; of some, nothing yet."""

    zone: str
    requested_at: datetime
    started_at: datetime | None = None
    checked_in_at: datetime | None = None
    ended_at: datetime | None = None
    end: MachineEnd | None = None
    reason: str = ""
    everywhere: bool = False
    """Of a quota: whether it is about all regions."""
    available: tuple[str, ...] = ()
    """Of a stockout: zones that have some, if the cloud said so."""


@dataclass(frozen=True)
class Trouble:
    """Why nothing can be rented at the moment."""

    said: str
    for_good: bool = False
    """Whether a person must change something."""


def best_zone(
    zones: Sequence[Zone], held: Sequence[str], history: Sequence[Past], pause: timedelta, now: datetime
) -> Zone | Trouble:
    """The zone with the fewest machines, troubles and dollars; why there is none, otherwise.

    `held`: the zone of each machine that is there or on its way.
    """
    open_zones = [zone for zone in zones if not _is_paused(zone, history, pause, now)]
    if not open_zones:
        return _nowhere(zones, history)
    cheapest = min((zone.price for zone in open_zones if zone.price), default=None)

    def cost(zone: Zone) -> tuple[float, str]:
        dear = zone.price / cheapest - 1 if zone.price and cheapest else 0.0
        return held.count(zone.name) + memory(zone.name, history, now) + dear, zone.name

    return min(open_zones, key=cost)


def memory(zone: str, history: Sequence[Past], now: datetime) -> float:
    """How much the zone's stockouts and preemptions still count: 1 each when fresh, half of it after a half-life."""
    return sum(
        float(0.5 ** ((now - past.ended_at) / FADES[past.end]))
        for past in history
        if past.zone == zone and past.end in FADES and past.ended_at is not None
    )


def trouble_everywhere(
    history: Sequence[Past],
    pause: timedelta,
    asked_at: datetime | None,
    retried_at: datetime | None,
    now: datetime,
) -> Trouble | None:
    """Trouble that another zone would not help against: a refusal, a quota of all regions, machines that never boot.

    What went wrong before somebody last had a batch retried (`retried_at`) may have been mended since, and is
    forgiven; so is a refusal when somebody hands in a batch (`asked_at`), because to be refused costs nothing.
    """
    history = _since(retried_at, history)
    failures = _since_success(history, MachineEnd.BOOT_FAILED)
    history = _since(asked_at, history)
    refusals = _since_success(history, MachineEnd.REFUSED)
    if refusals and now < _until(refusals, pause):
        return Trouble(refusals[-1].reason, for_good=True)
    quotas = [past for past in _since_success(history, MachineEnd.QUOTA) if past.everywhere]
    if quotas and now < _until(quotas, pause) and not _freed(history, quotas[-1], None):
        return Trouble(quotas[-1].reason)
    too_many = failures[BOOT_FAILURES - 1 :]
    if too_many and now < _until(too_many, pause, LONGEST_PAUSE_OF_BOOTS):
        return Trouble(_never_checked_in(failures), for_good=len(failures) >= BOOT_FAILURES_FOR_GOOD)
    return None


def never_checked_in(history: Sequence[Past], retried_at: datetime | None) -> str:
    """How many machines in a row did not, and why the last one did not; empty if none."""
    return _never_checked_in(_since_success(_since(retried_at, history), MachineEnd.BOOT_FAILED))


def _never_checked_in(failures: Sequence[Past]) -> str:
    if not failures:
        return ""
    many = f"{len(failures)} machines in a row never checked in."
    return f"{many if len(failures) > 1 else 'The last machine did not come up.'} {failures[-1].reason}".strip()


def _since(moment: datetime | None, history: Sequence[Past]) -> list[Past]:
    """What was asked for after that moment, and what did come up before it."""
    return [past for past in history if moment is None or past.requested_at >= moment or past.checked_in_at]


def _is_paused(zone: Zone, history: Sequence[Past], pause: timedelta, now: datetime) -> bool:
    here = [past for past in history if past.zone == zone.name]
    dry = [past for past in _since_start(here) if past.end in (MachineEnd.STOCKOUT, MachineEnd.NEVER_CREATED)]
    if dry and now < _until(dry, pause):
        told = [past.ended_at for past in history if zone.name in past.available and past.ended_at is not None]
        last = dry[-1].ended_at
        if last is None or not told or max(told) < last:
            return True
    region = [past for past in history if region_of(past.zone) == zone.region]
    full = [past for past in _since_start(region) if past.end is MachineEnd.QUOTA and not past.everywhere]
    return bool(full) and now < _until(full, pause) and not _freed(history, full[-1], zone.region)


def _until(troubles: Sequence[Past], pause: timedelta, longest: timedelta = LONGEST_PAUSE) -> datetime:
    """When to try again: after the pause, twice, four times … as long with each trouble in a row."""
    last = max(past.ended_at or past.requested_at for past in troubles)
    doubled: timedelta = pause * 2.0 ** min(len(troubles) - 1, 16)
    return last + min(doubled, longest)


def _since_success(history: Sequence[Past], end: MachineEnd) -> list[Past]:
    """Those that ended so after the last check-in of any machine, oldest first."""
    good = max((past.checked_in_at for past in history if past.checked_in_at), default=None)
    return _after(good, [past for past in history if past.end is end])


def _since_start(history: Sequence[Past]) -> list[Past]:
    """Those that ended after a machine last came up there, oldest first."""
    good = max((past.started_at for past in history if past.started_at), default=None)
    return _after(good, [past for past in history if past.end is not None])


def _after(moment: datetime | None, pasts: Sequence[Past]) -> list[Past]:
    found = [past for past in pasts if past.ended_at is not None and (moment is None or past.ended_at > moment)]
    return sorted(found, key=lambda past: past.ended_at or past.requested_at)


def _freed(history: Sequence[Past], trouble: Past, region: str | None) -> bool:
    """Whether a machine of ours has gone there since, which makes room in a quota."""
    return any(
        past.ended_at is not None and trouble.ended_at is not None and past.ended_at > trouble.ended_at
        for past in history
        if past.end is not None and past.end not in NEVER_CAME and region in (None, region_of(past.zone))
    )


def _nowhere(zones: Sequence[Zone], history: Sequence[Past]) -> Trouble:
    if not zones:
        return Trouble(
            "none of the plan's zones offers such a machine: choose other zones, or another one", for_good=True
        )
    names = ", ".join(zone.name for zone in zones)
    troubles = [past for past in history if past.end in NEVER_CAME and past.ended_at is not None]
    last = max(troubles, key=lambda past: past.ended_at or past.requested_at, default=None)
    why = f" The last answer: {last.reason}" if last is not None else ""
    return Trouble(
        f"nothing can be rented in {names} at the moment; it is tried again and again, at growing intervals. "
        f"More zones, or another machine type, would help.{why}"
    )
