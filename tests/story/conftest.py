"""What the stories share: one stack for all of them, because a server takes its time to start."""

from collections.abc import Iterator

import pytest

from tests.story.stack import Stack, running_stack

ATTEMPTS = 2
"""Attempts of a chunk; each lost machine uses one up."""


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two machines that looks often, cuts small chunks, and gives machines back soon."""
    root = tmp_path_factory.mktemp("stack")
    with running_stack(
        root,
        machines=2,
        least_machines=2,
        machine_threads=1,
        chunk_seconds=3,
        quiet=1,
        look_every=0.5,
        idle_window=7,
        boot_deadline=30,
        stockout_pause=2,
        attempts=ATTEMPTS,
    ) as stack:
        yield stack
