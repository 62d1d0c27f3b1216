"""What machines cost, and what they did in the time that was paid for. Pure.

Google bills vCPUs, memory and GPUs by the second while a machine runs, each time for one minute at least; finding
hardware and preparing it is free (Compute Engine documentation, "VM instance pricing" and "VM instance life cycle").
Here a machine is paid for from when it was first seen RUNNING until the cloud no longer lists it, which is rather too
long than too short, and the first minute from its first second on. Disks, addresses and traffic are not in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

LEAST: Final = timedelta(seconds=60)
"""Paid for every start, however short."""
_HOUR: Final = 3600.0


@dataclass(frozen=True)
class Rented:
    """One machine as the bill wants it. Prices are US dollars per hour, None where no price is known."""

    name: str
    zone: str
    machine_type: str
    spot: bool
    price_per_hour: float | None
    on_demand_per_hour: float | None
    requested_at: datetime
    started_at: datetime | None
    """First seen RUNNING; None: it never was, and costs nothing."""
    checked_in_at: datetime | None
    ended_at: datetime | None
    end: str | None
    worked_seconds: float = 0.0
    """In attempts whose results count."""
    lost_seconds: float = 0.0
    """In attempts that a preemption undid. No second is in both."""


@dataclass(frozen=True)
class Line:
    """Seconds and US dollars: of one machine, or of all of them."""

    paid: float = 0.0
    booting: float = 0.0
    """From RUNNING until its worker checked in, or until its end."""
    working: float = 0.0
    idle: float = 0.0
    """Paid for and not used, with what the least of one minute adds."""
    lost: float = 0.0
    cost: float = 0.0
    on_demand: float = 0.0
    """What the same seconds would have cost on demand."""

    def __add__(self, other: "Line") -> "Line":
        return Line(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Bill:
    """The lines of all machines in the order they were given, and their sum."""

    lines: tuple[tuple[Rented, Line], ...]
    total: Line
    unpriced: tuple[str, ...]
    """Names of machines that were paid for at a price nobody told us: the sums are too low by them."""


def bill(machines: Sequence[Rented], now: datetime) -> Bill:
    """What these machines cost until `now`."""
    lines = tuple((machine, line_of(machine, now)) for machine in machines)
    unpriced = tuple(machine.name for machine, line in lines if line.paid and machine.price_per_hour is None)
    return Bill(lines, sum((line for _, line in lines), Line()), unpriced)


def line_of(machine: Rented, now: datetime) -> Line:
    """What one machine cost until `now`."""
    if machine.started_at is None or now < machine.started_at:
        return Line()
    ended = max(machine.started_at, machine.ended_at or now)
    paid = (_paid_until(machine.started_at, machine.ended_at, now) - machine.started_at).total_seconds()
    ready = min(machine.checked_in_at or ended, ended)
    booting = max(0.0, (ready - machine.started_at).total_seconds())
    idle = max(0.0, paid - booting - machine.worked_seconds - machine.lost_seconds)
    hours = paid / _HOUR
    return Line(
        paid=paid,
        booting=booting,
        working=machine.worked_seconds,
        idle=idle,
        lost=machine.lost_seconds,
        cost=hours * (machine.price_per_hour or 0.0),
        on_demand=hours * (machine.on_demand_per_hour or 0.0),
    )


def spent(machines: Sequence[Rented], since: datetime, now: datetime) -> float:
    """US dollars that these machines cost between `since` and `now`. Machines without a known price count nothing."""
    total = 0.0
    for machine in machines:
        if machine.started_at is not None and machine.started_at <= now:
            until = _paid_until(machine.started_at, machine.ended_at, now)
            seconds = (until - max(machine.started_at, since)).total_seconds()
            total += max(0.0, seconds) / _HOUR * (machine.price_per_hour or 0.0)
    return total


def markdown(bill: Bill) -> str:
    """The bill as a table with a sentence below it."""
    rows = [
        "| machine | end | cost | on demand | paid | booting | working | idle | lost | zone | type |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    for machine, line in bill.lines:
        kind = machine.machine_type if machine.spot else f"{machine.machine_type}, on demand"
        end = machine.end or "runs"
        rows.append(_row(machine.name, end, *_money(line, machine), *_seconds(line), machine.zone, kind))
    total = bill.total
    if len(bill.lines) != 1:
        money = (dollars(total.cost), dollars(total.on_demand))
        rows.append(_row("**all**", "", *money, *_seconds(total), "", ""))
    return "\n".join(rows) + "\n\n" + _summary(bill) + "\n"


def _paid_until(started: datetime, ended: datetime | None, now: datetime) -> datetime:
    """Until when a machine must be paid, as far as is known at `now`."""
    return max(min(ended or now, now), started + LEAST)


def _summary(bill: Bill) -> str:
    total = bill.total
    if not total.paid:
        return "No machine ran, so nothing is to be paid."
    said = [f"{_span(total.paid)} were paid for: {dollars(total.cost)}"]
    if total.on_demand > total.cost and not bill.unpriced:
        saved = 1 - total.cost / total.on_demand
        said[0] += f" instead of {dollars(total.on_demand)} on demand, {saved:.0%} less"
    if total.working:
        said.append(f"For each second of work {total.paid / total.working:.2f} s were paid")
    if total.lost:
        said.append(f"Preemptions undid {_span(total.lost)} of work")
    if bill.unpriced:
        said.append(f"No price is known for {', '.join(bill.unpriced)}, so the sums are too low")
    return ". ".join(said) + "."


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _seconds(line: Line) -> tuple[str, ...]:
    return tuple(_span(seconds) for seconds in (line.paid, line.booting, line.working, line.idle, line.lost))


def _money(line: Line, machine: Rented) -> tuple[str, str]:
    return (
        "?" if machine.price_per_hour is None and line.paid else dollars(line.cost),
        "?" if machine.on_demand_per_hour is None and line.paid else dollars(line.on_demand),
    )


def _span(seconds: float) -> str:
    """`1:05:09`, `5:09` or `9 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def dollars(amount: float) -> str:
    """Cents are enough for dollars; less than one dollar is told to the hundredth of a cent."""
    return f"${amount:.2f}" if amount >= 1 or not amount else f"${amount:.4f}"
