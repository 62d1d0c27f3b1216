"""When a machine that nobody needs any more ends by itself, and how long it tries again."""

from pathlib import Path

import pytest

from workers.machine.watchdog import End, Sign, delay_after, verdict

LIMIT = 100.0


@pytest.mark.parametrize(
    ("signs", "now", "expected"),
    [
        ([], 100, None),  # it boots, and loads the model
        ([], 101, End.NO_SCHEDULER),
        ([Sign(joined=90, worked=90)], 190, None),
        ([Sign(joined=90, worked=90)], 191, End.NO_SCHEDULER),
        ([Sign(joined=190, worked=90)], 190, None),
        ([Sign(joined=191, worked=90)], 191, End.GONE),
        ([Sign(joined=191, worked=90), Sign(joined=191, worked=150)], 191, None),  # the other GPU has work
        ([Sign(joined=95, worked=90), Sign(joined=191, worked=150)], 196, None),  # the other GPU has a scheduler
    ],
)
def test_a_machine_ends_without_scheduler_or_work(signs: list[Sign], now: float, expected: End | None):
    assert verdict(signs, began=0, limit=LIMIT, now=now) == expected


def test_a_sign_is_read_as_it_was_left(tmp_path: Path):
    sign = Sign(joined=1.5, worked=0.5)
    assert Sign.of(tmp_path / "worker.0.sign") is None
    sign.leave(tmp_path / "worker.0.sign")
    assert Sign.of(tmp_path / "worker.0.sign") == sign


def test_a_worker_that_dies_is_started_again_later_each_time_and_not_for_ever():
    assert [delay_after(range(deaths), now=10) for deaths in (1, 2, 3, 4)] == [1, 2, 4, None]


def test_deaths_of_long_ago_are_forgiven():
    assert delay_after([0, 1, 2, 3, 2000], now=2000) == 1
