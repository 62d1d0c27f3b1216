"""How many machines the waiting work deserves, which to rent, and which to give back.

Pure: values in, a decision out, `now` is an argument. The same facts always give the same decision, so a step that
is repeated after a crash decides the same again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from infra.pool.bill import LEAST, dollars
from infra.pool.zones import Past, Trouble, Zone, best_zone, never_checked_in, trouble_everywhere
from infra.states import MachineEnd

WORTH = 3.0
"""A machine is rented for work that keeps it busy at least so many times as long as it takes to boot."""
MISSED_FOR = timedelta(seconds=60)
"""So long may a machine that the cloud says runs be unknown to the scheduler before it is given back."""
UNUSED_FOR = timedelta(seconds=20)
"""A machine that is idle for so long while work waits shows that nobody hands the work out: no other one would help."""


class Stage(StrEnum):
    """Where a machine is for whoever needs it."""

    COMING = "COMING"  # asked for, or booting: it counts, so that nobody asks twice
    SERVING = "SERVING"  # checked in, and the scheduler has it
    MISSED = "MISSED"  # checked in once, and the scheduler has it no more
    LEAVING = "LEAVING"  # told to go, or on its way out


@dataclass(frozen=True)
class Work:
    """What waits for machines."""

    seconds: float
    """Of one GPU, at the measured speed."""
    chunks: int
    """That are not done: more GPUs than chunks are of no use."""
    unread: int
    """Batches of which nobody knows yet what they need."""
    asked_at: datetime | None = None
    """When somebody last handed in a batch or had one retried."""
    retried_at: datetime | None = None
    """When somebody last had a batch retried: whatever went wrong before may have been mended."""

    @property
    def waits(self) -> bool:
        return self.chunks > 0 or self.unread > 0


@dataclass(frozen=True)
class Held:
    """A machine that is not gone yet."""

    name: str
    zone: str
    stage: Stage
    requested_at: datetime
    price: float | None = None
    """US dollars per hour."""
    since: datetime | None = None
    """SERVING: since when it has no work, None while it has. MISSED: since when it is missed."""
    refused: str = ""
    """COMING: why the pool will not let it in, whatever happens; empty if it may still come."""


@dataclass(frozen=True)
class Limits:
    """What a person has set, and what was measured."""

    maximum: int
    idle_window: timedelta
    boot_deadline: timedelta
    boot_seconds: float
    """From the request to the check-in, as measured; it says what a machine costs before it works."""
    least: int = 1
    """Machines to rent as soon as there is any work for them."""
    gpus: int = 1
    """Of one machine; each works on a chunk of its own."""
    budget_per_hour: float | None = None
    budget_per_day: float | None = None
    pause: timedelta = timedelta(seconds=30)
    """After a first stockout; doubled with each further one."""


@dataclass(frozen=True)
class Return:
    """A machine to give back, and why."""

    name: str
    end: MachineEnd
    reason: str


@dataclass(frozen=True)
class Decision:
    """What is to be done now."""

    rent: tuple[str, ...] = ()
    """The zones of the machines to rent."""
    give_back: tuple[Return, ...] = ()
    waits: str = ""
    """Why fewer machines are rented than the work deserves: a sentence with what to do; empty when all is well."""
    for_good: bool = False
    """Whether that lasts until a person has changed something."""


def decide(
    work: Work,
    machines: Sequence[Held],
    zones: Sequence[Zone],
    history: Sequence[Past],
    limits: Limits,
    spent_today: float,
    now: datetime,
) -> Decision:
    """Rent for the work that waits; return what is overdue, missed, too dear, or idle for the whole window.

    `history`: the machines of the last day, of this life and of earlier ones. `spent_today`: US dollars in the last
    24 hours.
    """
    if limits.budget_per_day is not None and spent_today >= limits.budget_per_day:
        said = (
            f"the budget of {dollars(limits.budget_per_day)} within 24 hours is spent: no machine is rented until less "
            "was, or budget_per_day is raised"
        )
        everything = tuple(Return(m.name, MachineEnd.BUDGET, said) for m in machines if m.stage is not Stage.LEAVING)
        return Decision(give_back=everything, waits=said if work.waits else "")
    overdue = _overdue(machines, limits, now)
    failed = {returned.name: returned for returned in overdue}
    # What fails now counts at once, or its successor would be asked for before anybody looks how many have failed.
    history = [*history, *(_failed(m, failed[m.name], now) for m in machines if m.name in failed)]
    back = overdue + _missed(machines, now) + _idle(work, machines, limits, now)
    going = {returned.name for returned in back}
    staying = [m for m in machines if m.stage in (Stage.COMING, Stage.SERVING) and m.name not in going]
    if surplus := _surplus(work, staying, limits):
        return Decision(give_back=(*back, *surplus))
    missing = wanted(work, limits) - len(staying)
    if missing <= 0 or _unused(work, staying, limits, now):
        return Decision(give_back=tuple(back), waits=_boots_again(work, staying, history))
    # Whatever is not gone yet counts, also what is on its way out: there are never more machines than allowed.
    room = limits.maximum - len(machines)
    rent, waits, for_good = _rent(min(missing, room), work, machines, zones, history, limits, spent_today, now)
    return Decision(rent, tuple(back), waits or _boots_again(work, staying, history), for_good and not staying)


def wanted(work: Work, limits: Limits) -> int:
    """How many machines the work deserves, whatever they cost and wherever they are."""
    if not work.waits:
        return 0
    by_time = ceil(work.seconds / (WORTH * max(1.0, limits.boot_seconds)) / limits.gpus)
    most = limits.maximum
    if not work.unread:
        most = min(most, ceil(work.chunks / limits.gpus))
    return max(1, min(max(by_time, limits.least), most))


def _rent(
    count: int,
    work: Work,
    machines: Sequence[Held],
    zones: Sequence[Zone],
    history: Sequence[Past],
    limits: Limits,
    spent_today: float,
    now: datetime,
) -> tuple[tuple[str, ...], str, bool]:
    """Zones for so many machines; if they are fewer, why."""
    asked = work.asked_at, work.retried_at
    if count > 0 and (trouble := trouble_everywhere(history, limits.pause, *asked, now)) is not None:
        return (), trouble.said, trouble.for_good
    held = [machine.zone for machine in machines if machine.stage is not Stage.LEAVING]
    rate = sum(machine.price or 0.0 for machine in machines)
    rent: list[str] = []
    for _ in range(count):
        zone = best_zone(zones, [*held, *rent], history, limits.pause, now)
        if isinstance(zone, Trouble):
            return tuple(rent), zone.said, zone.for_good
        if why := _too_dear(zone, rate, limits, spent_today):
            return tuple(rent), why, zone.price is None
        rate += zone.price or 0.0
        rent.append(zone.name)
    return tuple(rent), "", False


def _too_dear(zone: Zone, rate: float, limits: Limits, spent_today: float) -> str:
    if limits.budget_per_hour is None and limits.budget_per_day is None:
        return ""
    if zone.price is None:
        return f"no price is known for such a machine in {zone.name}, and there is a budget: add it to the price file"
    if limits.budget_per_hour is not None and rate + zone.price > limits.budget_per_hour:
        return (
            f"${rate:.2f} an hour are being spent, another machine costs ${zone.price:.2f}, and the budget is "
            f"${limits.budget_per_hour:.2f}: raise budget_per_hour for more machines"
        )
    # What boots must also be paid until it has been of some use, or the last dollars buy nothing but boots.
    soon = (rate + zone.price) * max(LEAST, timedelta(seconds=limits.boot_seconds * (1 + WORTH))) / timedelta(hours=1)
    if limits.budget_per_day is not None and spent_today + soon > limits.budget_per_day:
        return (
            f"the budget of {dollars(limits.budget_per_day)} within 24 hours is nearly spent, and {dollars(soon)} more "
            "are needed until another machine is of use: raise budget_per_day for more machines"
        )
    return ""


def _unused(work: Work, staying: Sequence[Held], limits: Limits, now: datetime) -> bool:
    """Whether a machine has had no work since long, although work waits."""
    long = min(UNUSED_FOR, limits.idle_window / 2)  # or idle machines would be given back and rented again in turn
    asked = work.asked_at or now - long
    return any(m.stage is Stage.SERVING and m.since is not None and now - max(m.since, asked) >= long for m in staying)


def _boots_again(work: Work, staying: Sequence[Held], history: Sequence[Past]) -> str:
    """Why whoever waits for the first machine waits for longer than a boot; empty if it may just be booting."""
    if not work.waits or any(machine.stage is Stage.SERVING for machine in staying):
        return ""
    failed = never_checked_in(history, work.retried_at)
    return f"{failed} Another one is tried." if failed else ""


def _surplus(work: Work, staying: Sequence[Held], limits: Limits) -> list[Return]:
    """What is too much for a plan that was made smaller: idle machines first, then those that boot, the youngest.

    The last one stays while work waits, as it does when it is idle: no other one is rented for that money.
    """

    def use(m: Held) -> tuple[bool, bool, float]:
        works = m.stage is Stage.SERVING and m.since is None
        return works, m.stage is Stage.COMING, -m.requested_at.timestamp()

    kept = sorted(staying, key=use)
    going: list[Return] = []
    while len(kept) > (1 if work.waits else 0):
        rate = sum(machine.price or 0.0 for machine in kept)
        if len(kept) > limits.maximum:
            said = f"The plan allows {limits.maximum} machines now."
        elif limits.budget_per_hour is not None and rate > limits.budget_per_hour:
            said = f"{dollars(rate)} an hour are spent, and the budget is {dollars(limits.budget_per_hour)} now."
        else:
            break
        going.append(Return(kept.pop(0).name, MachineEnd.SURPLUS, said))
    return going


def _overdue(machines: Sequence[Held], limits: Limits, now: datetime) -> list[Return]:
    """Machines that should have checked in by now, or never will."""
    said = f"It did not check in within {limits.boot_deadline.total_seconds():.0f} s."
    return [
        Return(m.name, MachineEnd.BOOT_FAILED, m.refused or said)
        for m in machines
        if m.stage is Stage.COMING and (m.refused or now - m.requested_at > limits.boot_deadline)
    ]


def _failed(machine: Held, returned: Return, now: datetime) -> Past:
    return Past(machine.zone, machine.requested_at, ended_at=now, end=returned.end, reason=returned.reason)


def _missed(machines: Sequence[Held], now: datetime) -> list[Return]:
    """Machines that cost money and do nothing: the cloud says that they run, the scheduler does not know them."""
    return [
        Return(m.name, MachineEnd.HUNG, f"It left the scheduler {(now - m.since).total_seconds():.0f} s ago.")
        for m in machines
        if m.stage is Stage.MISSED and m.since is not None and now - m.since >= MISSED_FOR
    ]


def _idle(work: Work, machines: Sequence[Held], limits: Limits, now: datetime) -> list[Return]:
    """Machines without work for the whole window, the longest first; while work waits, one stays at least."""
    idle = sorted(
        (m.since, m.name)
        for m in machines
        if m.stage is Stage.SERVING and m.since is not None and now - m.since >= limits.idle_window
    )
    serving = sum(m.stage is Stage.SERVING for m in machines)
    most = serving - 1 if work.waits else serving
    said = f"It had no work for {limits.idle_window.total_seconds():.0f} s."
    return [Return(name, MachineEnd.IDLE, said) for _, name in idle[:most]]
