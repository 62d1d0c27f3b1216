"""What machines cost, and what was paid for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from infra.pool.bill import Line, Rented, bill, line_of, markdown, spent

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def rented(
    started: float | None = 0,
    checked_in: float | None = 30,
    ended: float | None = None,
    worked: float = 0,
    lost: float = 0,
    price: float | None = 3.6,
    on_demand: float | None = 7.2,
    name: str = "one",
    end: str | None = None,
) -> Rented:
    """A machine that costs a tenth of a cent a second, asked for 20 s before noon."""
    return Rented(
        name=name,
        zone="us-central1-a",
        machine_type="g2-standard-4",
        spot=True,
        price_per_hour=price,
        on_demand_per_hour=on_demand,
        requested_at=at(-20),
        started_at=None if started is None else at(started),
        checked_in_at=None if checked_in is None else at(checked_in),
        ended_at=None if ended is None else at(ended),
        end=end,
        worked_seconds=worked,
        lost_seconds=lost,
    )


@pytest.mark.parametrize(
    ("machine", "now", "line"),
    [
        pytest.param(rented(started=None, checked_in=None), 900, Line(), id="asked for, never came: free"),
        pytest.param(rented(started=None, checked_in=None, ended=10), 900, Line(), id="refused: free"),
        pytest.param(
            rented(ended=300, worked=200, lost=20), 900, Line(300, 30, 200, 50, 20, 0.3, 0.6), id="a life of 5 minutes"
        ),
        pytest.param(rented(worked=200), 300, Line(300, 30, 200, 70, 0, 0.3, 0.6), id="it still runs"),
        pytest.param(rented(ended=20), 900, Line(60, 20, 0, 40, 0, 0.06, 0.12), id="a minute at least, though gone"),
        pytest.param(
            rented(checked_in=None), 10, Line(60, 10, 0, 50, 0, 0.06, 0.12), id="a minute from the first second"
        ),
        pytest.param(rented(checked_in=None, ended=200), 900, Line(200, 200, 0, 0, 0, 0.2, 0.4), id="it never came up"),
        pytest.param(
            rented(checked_in=250, ended=200), 900, Line(200, 200, 0, 0, 0, 0.2, 0.4), id="checked in after its end"
        ),
        pytest.param(rented(checked_in=-5, ended=100), 900, Line(100, 0, 0, 100, 0, 0.1, 0.2), id="seen late"),
        pytest.param(
            rented(ended=100, worked=140),
            900,
            Line(100, 30, 140, 0, 0, 0.1, 0.2),
            id="two GPUs work more than time passes",
        ),
        pytest.param(rented(started=100), 50, Line(), id="the future costs nothing yet"),
        pytest.param(rented(ended=300), 120, Line(120, 30, 0, 90, 0, 0.12, 0.24), id="as it was known before its end"),
        pytest.param(
            rented(ended=100, price=None, on_demand=None), 900, Line(100, 30, 0, 70, 0, 0, 0), id="no price is known"
        ),
    ],
)
def test_a_machine_is_paid_for(machine: Rented, now: float, line: Line):
    assert vars(line_of(machine, at(now))) == pytest.approx(vars(line))


@pytest.mark.parametrize(
    ("machine", "since", "now", "dollars"),
    [
        pytest.param(rented(ended=600), -60, 900, 0.6, id="all of it"),
        pytest.param(rented(ended=600), 500, 900, 0.1, id="what lies in the window"),
        pytest.param(rented(ended=600), 600, 900, 0, id="over before"),
        pytest.param(rented(), 100, 400, 0.3, id="it still runs"),
        pytest.param(rented(ended=5), 30, 900, 0.03, id="the rest of its first minute"),
        pytest.param(rented(), -60, 1, 0.06, id="its first minute counts at once"),
        pytest.param(rented(started=50), -60, 20, 0, id="not started yet"),
        pytest.param(rented(started=None), -60, 900, 0, id="never started"),
        pytest.param(rented(price=None), -60, 900, 0, id="no price is known"),
        pytest.param(rented(ended=600), -60, 300, 0.3, id="asked about the past"),
    ],
)
def test_what_was_spent_in_a_window(machine: Rented, since: float, now: float, dollars: float):
    assert spent([machine], at(since), at(now)) == pytest.approx(dollars)
    assert spent([machine, machine], at(since), at(now)) == pytest.approx(2 * dollars)


def test_windows_that_meet_add_up_to_the_bill():
    machines = [rented(ended=600), rented(started=100, ended=5000), rented(started=2000), rented(started=None)]
    hours = [at(-100), at(1000), at(2500), at(7200)]
    parts = sum(spent(machines, since, until) for since, until in pairwise(hours))
    assert parts == pytest.approx(bill(machines, hours[-1]).total.cost)


def test_all_machines_are_summed():
    machines = [rented(ended=300, worked=200), rented(name="two", ended=100, worked=50, lost=10)]
    total = bill(machines, at(900)).total
    assert vars(total) == pytest.approx(vars(Line(400, 60, 250, 80, 10, 0.4, 0.8)))


def test_a_machine_without_a_price_is_named():
    machines = [
        rented(ended=300),
        rented(name="free", price=None, ended=300),
        rented(name="none", started=None, price=None),
    ]
    assert bill(machines, at(900)).unpriced == ("free",)


def test_the_bill_is_a_table():
    machines = [
        rented(ended=3900, worked=3600, lost=60, end="PREEMPTED"),
        replace(rented(name="2", price=7.2, worked=100), spot=False, zone="me-west1-a"),
    ]
    table = markdown(bill(machines, at(3960)))
    assert table.splitlines() == [
        "| machine | end | cost | on demand | paid | booting | working | idle | lost | zone | type |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
        "| one | PREEMPTED | $3.90 | $7.80 | 1:05:00 | 30 s | 1:00:00 | 3:30 | 1:00 | us-central1-a | g2-standard-4 |",
        "| 2 | runs | $7.92 | $7.92 | 1:06:00 | 30 s | 1:40 | 1:03:50 | 0 s | me-west1-a | g2-standard-4, on demand |",
        "| **all** |  | $11.82 | $15.72 | 2:11:00 | 1:00 | 1:01:40 | 1:07:20 | 1:00 |  |  |",
        "",
        "2:11:00 were paid for: $11.82 instead of $15.72 on demand, 25% less. For each second of work 2.12 s were "
        "paid. Preemptions undid 1:00 of work.",
    ]


def test_a_bill_that_misses_prices_says_so():
    table = markdown(bill([rented(price=None, on_demand=None, ended=100)], at(900)))
    assert "| ? | ? |" in table
    assert table.endswith("No price is known for one, so the sums are too low.\n")


def test_nothing_rented_is_nothing_to_pay():
    assert markdown(bill([], NOON)).endswith("No machine ran, so nothing is to be paid.\n")
    assert "$0.00" in markdown(bill([rented(started=None)], NOON))


def test_names_do_not_break_the_table():
    row = markdown(bill([rented(name="a|b", ended=100)], at(900))).splitlines()[2]
    assert row.startswith("| a\\|b |")
