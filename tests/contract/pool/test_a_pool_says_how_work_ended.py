"""Whatever happens to a machine, a scheduler or the wish itself, whoever waits for work hears of it by name."""

import operator
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client

from infra.pool import dispatch
from infra.pool.certificates import Certificate
from infra.pool.dispatch import wait_for
from infra.pool.ends import MachineLost, PoolGone, Stopped, TookTooLong
from infra.pool.hub import Hub
from infra.processes import Process
from tests.contract.pool.conftest import start_hub
from tests.waiting import eventually

pytestmark = pytest.mark.slow
LONG = 300
"""Seconds of work that no test waits for."""


def send(
    client: Client,
    work: Callable,
    job: object,
    stopped=lambda: False,
    last_news=lambda: None,
    patience=LONG,
    queue=LONG,
    priority=0,
):
    """`wait_for` with patience, unless told otherwise."""
    limits = {"patience": patience, "queue_patience": queue, "priority": priority}
    return wait_for(client, work, job, stopped=stopped, last_news=last_news, **limits)


def test_a_result_comes_back(client: Client, worker: Callable[[str], Process]):
    worker("calculator")
    assert send(client, operator.neg, 3) == -3


def test_the_same_work_is_done_again_when_it_is_sent_again(client: Client, worker: Callable[[str], Process]):
    worker("clock")
    first = send(client, _now_there, None)
    assert send(client, _now_there, None) > first


def test_an_error_of_the_work_itself_is_not_taken_for_a_lost_machine(client: Client, worker: Callable):
    worker("strict")
    with pytest.raises(ValueError, match="invalid literal"):
        send(client, int, "not a number")


def test_a_killed_machine_is_named_at_once(client: Client, worker: Callable[[str], Process]):
    process = worker("victim")
    when: list[float] = []

    def kill_when_busy() -> None:
        eventually("it works", lambda: _busy(client))
        when.append(time.monotonic())
        os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    with pytest.raises(MachineLost) as lost:
        send(client, time.sleep, LONG)
    assert lost.value.machine == "victim"
    assert time.monotonic() - when[0] < 5
    killer.join()


def test_work_that_is_not_wanted_any_more_is_left(client: Client, worker: Callable[[str], Process]):
    worker("patient")
    with pytest.raises(Stopped):
        send(client, time.sleep, LONG, stopped=lambda: _busy(client))


def test_a_machine_that_is_silent_for_too_long_is_given_up(client: Client, worker: Callable[[str], Process]):
    worker("silent")
    begun = time.monotonic()
    with pytest.raises(TookTooLong):
        send(client, time.sleep, LONG, last_news=lambda: begun, patience=0.5)


def test_a_machine_that_was_sent_away_gets_no_more_work(client: Client, worker: Callable[[str], Process]):
    worker("hanging")
    begun = time.monotonic()
    with pytest.raises(TookTooLong):
        send(client, time.sleep, LONG, last_news=lambda: begun, patience=0.5)
    dispatch.send_away(client, "hanging")
    assert dispatch.machines_of(client) == set()
    worker("sound")
    assert send(client, operator.neg, 3) == -3


def test_work_that_nobody_tells_of_is_given_up_once_it_waited_too_long(client: Client):
    with pytest.raises(TookTooLong, match="no machine told of it"):
        send(client, time.sleep, LONG, queue=0.5)


def test_work_that_waits_in_the_queue_is_not_given_up_for_want_of_news(client: Client):
    until = time.monotonic() + 1.5
    with pytest.raises(Stopped):
        send(client, time.sleep, LONG, stopped=lambda: time.monotonic() > until, patience=0.1)


def test_work_is_not_given_up_while_every_machine_has_other_work(
    client: Client, worker: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatch, "LOOK_AT_QUEUE_EVERY", 0.3)
    worker("busy")
    with ThreadPoolExecutor() as threads:
        other = threads.submit(send, client, time.sleep, 3)
        eventually("it works", lambda: _busy(client))
        assert send(client, operator.neg, 3, queue=1.0) == -3
        other.result()
    with pytest.raises(TookTooLong, match="no machine told of it"):
        send(client, time.sleep, 5, queue=1.0)  # a machine has it, and nothing else, and tells nothing


def test_what_was_sent_again_is_begun_before_what_only_waits(client: Client, worker: Callable[[str], Process]):
    worker("only")
    with ThreadPoolExecutor(16) as threads:
        threads.submit(send, client, time.sleep, 4)
        eventually("it works", lambda: _busy(client))
        usual = [threads.submit(send, client, _now_there, None) for _ in range(9)]
        eventually("they wait", lambda: len(client.futures) == 10)
        again = threads.submit(send, client, _now_there, None, priority=1).result()
        assert all(again < it.result() for it in usual)


def test_what_waits_goes_to_whichever_machine_is_free_first(client: Client, worker: Callable[[str], Process]):
    worker("left")
    worker("right")
    with ThreadPoolExecutor(16) as threads:
        for seconds in (8, 2):
            threads.submit(send, client, time.sleep, seconds)
        eventually("both work", lambda: all(client.processing().values()))
        waits = [threads.submit(send, client, _now_there, None) for _ in range(6)]
        eventually("they wait", lambda: len(client.futures) == 8)
        assert sum(len(work) for work in client.processing().values()) == 2  # nothing lies at a machine that is busy
        assert max(it.result() for it in waits) - min(it.result() for it in waits) < 1
        assert _busy(client), "the test was too slow to mean anything"


def test_a_frozen_machine_does_not_count_as_one_that_works(
    client: Client, worker: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatch, "SILENT", 3.0)
    frozen = worker("frozen")
    worker("sound")
    future = client.submit(time.sleep, LONG, workers=[_address(client, "frozen")], pure=False)
    eventually("it works", lambda: dispatch.at_work(client) == {"frozen": True, "sound": False})
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        eventually("it is missed", lambda: dispatch.at_work(client) == {"sound": False}, within=8)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    eventually("it is back", lambda: dispatch.at_work(client) == {"frozen": True, "sound": False})
    future.release()


def test_the_machines_of_a_pool_have_names(client: Client, worker: Callable[[str], Process]):
    worker("left")
    worker("right")
    assert dispatch.machines_of(client) == {"left", "right"}


def test_the_keeper_sees_who_is_idle_and_a_machine_with_several_gpus_as_one(client: Client, hub: Hub, worker: Callable):
    worker("single")
    worker("double.0")
    worker("double.1")
    assert hub.at_work() == {"single": False, "double": False}
    done = threading.Event()
    future = client.submit(time.sleep, 1, workers=[_address(client, "double.1")], pure=False)
    future.add_done_callback(lambda _: done.set())
    eventually("it is at work", lambda: hub.at_work() == {"single": False, "double": True})
    assert done.wait(30)


def test_work_of_a_machine_that_the_keeper_knows_is_gone_goes_elsewhere_at_once(
    client: Client, hub: Hub, worker: Callable
):
    frozen = worker("frozen")

    def freeze_when_busy() -> None:
        eventually("it works", lambda: _busy(client))
        os.kill(frozen.pid, signal.SIGSTOP)  # its connections stay open, as those of a host that lost its power
        hub.forget("frozen")

    threading.Thread(target=freeze_when_busy).start()
    begun = time.monotonic()
    with pytest.raises(MachineLost) as lost:
        send(client, time.sleep, LONG)
    assert lost.value.machine == "frozen"
    assert time.monotonic() - begun < 10
    os.kill(frozen.pid, signal.SIGKILL)


def test_a_dead_scheduler_is_noticed(tmp_path, request: pytest.FixtureRequest):
    hub = start_hub(tmp_path)
    request.addfinalizer(hub.stop)
    scheduler = hub.processes.find("scheduler")
    assert scheduler is not None
    client = dispatch.connect(hub.scheduler, Certificate.of(hub.keys, "client"))
    request.addfinalizer(lambda: dispatch.disconnect(client))
    threading.Timer(0.5, os.kill, (scheduler.pid, signal.SIGKILL)).start()
    with pytest.raises(PoolGone):
        send(client, time.sleep, LONG)
    assert not hub.is_alive()
    assert hub.at_work() is None  # it cannot say; that is not the same as "nobody"


def test_a_scheduler_that_is_not_there_is_an_error_in_time(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dispatch, "CONNECT_DEADLINE", 1.0)
    with pytest.raises(PoolGone, match="does not answer"):
        dispatch.connect("tls://127.0.0.1:9", Certificate.of(hub.keys, "client"))


def _busy(client: Client) -> bool:
    """Whether some machine of the pool has work in hand."""
    return any(client.processing().values())


def _address(client: Client, worker: str) -> str:
    return next(at for at, it in client.scheduler_info(n_workers=-1)["workers"].items() if it["name"] == worker)


def _now_there(_: object) -> float:
    return time.monotonic()
