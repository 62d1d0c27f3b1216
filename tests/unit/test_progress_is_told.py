"""How far a batch is, as people read it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.progress import sentence
from flows.spans import clock
from infra.records import Progress

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HALF_DONE = Progress(
    images=10, waiting=5, done=4, rejected=1, cancelled=0, pixels=1000, pixels_done=400, bytes_out=4000,
    machine_seconds=8.0, chunks=2, chunks_done=1, attempts_open=1, started_at=NOON, first_result_at=NOON,
    last_result_at=NOON + timedelta(seconds=10), settled_this_round=5, pixels_this_round=400,
)  # fmt: skip


def test_everything_that_is_known_is_said():
    assert sentence(HALF_DONE) == "4 of 10 images enhanced, 1 rejected, 0.5 images/s, about 10 s left"


def test_before_the_first_result_there_is_no_speed():
    fresh = replace(HALF_DONE, waiting=10, done=0, rejected=0, last_result_at=None, settled_this_round=0)
    assert sentence(fresh) == "0 of 10 images enhanced"


def test_at_the_end_no_time_is_left():
    assert sentence(replace(HALF_DONE, waiting=0, done=10, rejected=0)) == "10 of 10 images enhanced, 0.5 images/s"


def test_a_round_that_only_retries_is_as_fast_as_it_is():
    """Images of an earlier round are done, but say nothing about the speed of this one."""
    retried = replace(HALF_DONE, images=1000, waiting=5, done=994, settled_this_round=5)
    assert "0.5 images/s, about 10 s left" in sentence(retried)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500.0, "2 h 05 min"),
    ],
)
def test_spans_are_told_as_people_say_them(seconds: float, said: str):
    assert clock(seconds) == said
