"""Whoever gets hold of a machine cannot run code in the process that sent it work."""

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from infra.pool import inert
from infra.pool.dispatch import wait_for
from infra.pool.inert import Withheld
from infra.processes import Process
from tests.waiting import eventually

pytestmark = pytest.mark.slow


class Mischief(Exception):
    """Whoever unpickles it leaves a file with the number of the process."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __reduce__(self) -> Any:
        number = "str(__import__('os').getpid())"
        return eval, (f"open('{self.folder}/' + {number}, 'w').close() or ValueError('well')",)


class Known(Exception):
    """An error that the controller knows."""


def answer(folder: str) -> Mischief:
    return Mischief(folder)


def fail(folder: str) -> None:
    raise ValueError("a usual one") from Known(folder)


def fail_badly(folder: str) -> None:
    raise Mischief(folder)


def fail_in_a_known_way(_: object) -> None:
    raise Known("it is known")


def tell(folder: str) -> int:
    from distributed import get_worker
    from distributed.protocol import to_serialize

    worker = get_worker()
    news = {"op": "log-event", "topic": "news", "msg": to_serialize(Mischief(folder))}
    worker.loop.add_callback(worker.batched_send, news)  # `log_event` would not take it
    worker.log_event("news", "the last")
    return 1


def test_without_precautions_it_would_do_harm(tmp_path: Path):
    pickle.loads(pickle.dumps(Mischief(str(tmp_path))))
    assert (tmp_path / str(os.getpid())).exists()


@pytest.fixture
def send(client: Client, worker: Callable[[str], Process], tmp_path: Path) -> Callable[[Callable], Any]:
    """Call it with what a machine is to do; what it answers."""
    worker("captured")
    begun = time.monotonic()
    return lambda work: wait_for(
        client, work, str(tmp_path), stopped=lambda: False, last_news=lambda: begun, patience=60
    )


def test_an_answer_is_unpickled_into_nothing(send: Callable, tmp_path: Path):
    assert isinstance(send(answer), Withheld)
    assert not (tmp_path / str(os.getpid())).exists()


def test_errors_lose_only_what_is_not_known(send: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="a usual one"):
        send(fail)
    with pytest.raises(Withheld, match="eval"):
        send(fail_badly)
    with pytest.raises(Withheld, match=r"Known: it is known"):
        send(fail_in_a_known_way)
    monkeypatch.setattr(inert, "_HARMLESS", inert._HARMLESS.copy())
    inert.allow(Known)
    with pytest.raises(Known, match="it is known"):
        send(fail_in_a_known_way)
    assert not (tmp_path / str(os.getpid())).exists()


def test_news_is_unpickled_into_nothing_and_more_is_heard(client: Client, send: Callable, tmp_path: Path):
    heard: list[object] = []
    client.subscribe_topic("news", lambda event: heard.append(event[1]))
    assert send(tell) == 1
    eventually("both are heard", lambda: heard[-1:] == ["the last"])
    assert not (tmp_path / str(os.getpid())).exists()
    client.unsubscribe_topic("news")
