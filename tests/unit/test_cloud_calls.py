"""Calls are repeated when that is safe, and for a while only. Nobody waits here: the clock is an argument."""

import socket
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NoReturn

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession

from infra.machines.calls import Calls
from infra.machines.complaints import Place
from infra.machines.errors import (
    CloudError,
    CloudUnreachable,
    NotThere,
    RateLimited,
    Refused,
    Unclear,
)
from infra.machines.patience import Patience

PLACE = Place("drawings", "us-central1-a")
BUSY = api.Forbidden("POST http://x: Rate Limit Exceeded", errors=[{"reason": "rateLimitExceeded"}])
AWAY = api.ServiceUnavailable("GET http://x: come back")
LOST = ConnectionResetError(104, "Connection reset by peer")


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


class Script:
    """A cloud that fails as written, and then answers."""

    def __init__(self, troubles: Iterator[Exception] | list[Exception]) -> None:
        self.troubles = iter(troubles)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        for trouble in self.troubles:
            raise trouble
        return "done"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls(clock: Clock) -> Calls:
    return Calls(Patience(total=20, first=0.5, longest=8), clock, clock.sleep, luck=lambda: 1.0)


@pytest.mark.parametrize("trouble", [BUSY, AWAY, LOST, api.TooManyRequests("slowly"), auth.TransportError("no token")])
def test_a_question_is_asked_again(calls: Calls, clock: Clock, trouble: Exception):
    cloud = Script([trouble, trouble, trouble])
    assert calls.read(cloud, PLACE) == "done"
    assert clock.naps == [0.5, 1.0, 2.0]


def test_a_request_is_sent_again_if_it_was_turned_away_unread(calls: Calls, clock: Clock):
    assert calls.change(Script([BUSY, BUSY]), PLACE) == "done"
    assert clock.naps == [0.5, 1.0]


@pytest.mark.parametrize(
    "trouble", [AWAY, LOST, TimeoutError("slow"), api.GatewayTimeout("slow"), api.InternalServerError("?")]
)
def test_a_request_whose_answer_is_lost_is_not_sent_again(calls: Calls, trouble: Exception):
    cloud = Script([trouble])
    with pytest.raises(Unclear):
        calls.change(cloud, PLACE)
    assert cloud.asked == 1


@pytest.mark.parametrize("ask", ["read", "change"])
def test_patience_ends(calls: Calls, clock: Clock, ask: str):
    with pytest.raises(RateLimited):
        getattr(calls, ask)(Script(repeat(BUSY)), PLACE)
    assert clock.naps == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert clock.now < 20


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (api.NotFound("GET http://x: gone", errors=[{"reason": "notFound"}]), NotThere),
        (api.BadRequest("POST http://x: no", errors=[{"reason": "invalid"}]), Refused),
        (auth.RefreshError("revoked"), Refused),  # type: ignore[no-untyped-call]
        (auth.DefaultCredentialsError("nobody is logged in"), Refused),  # type: ignore[no-untyped-call]
    ],
)
def test_what_will_not_change_is_told_at_once(calls: Calls, clock: Clock, trouble: Exception, kind: type[CloudError]):
    for ask in (calls.read, calls.change):
        with pytest.raises(kind):
            ask(Script([trouble]), PLACE)
    assert clock.naps == []


def test_the_newer_form_of_an_error_is_read_as_well(calls: Calls):
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "metadata": {"a": "b"}}
    error = api.Forbidden("GET http://x: off", details=[info], errors=[{"reason": "forbidden", "message": "off"}])
    with pytest.raises(Refused, match="gcloud services enable"):
        calls.read(Script([error]), PLACE)


def test_a_bug_of_ours_is_not_hidden(calls: Calls):
    with pytest.raises(ZeroDivisionError):
        calls.read(Script([ZeroDivisionError()]), PLACE)


def _to(address: str) -> Callable[[], object]:
    return lambda: AuthorizedSession(AnonymousCredentials()).post(address, timeout=5)  # type: ignore[no-untyped-call]


def test_without_a_connection_nothing_was_sent(calls: Calls):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(CloudUnreachable, match=r"not answer: HTTPConnection\(host=.*Connection refused$"):
            calls.change(_to(f"http://127.0.0.1:{nobody.getsockname()[1]}/"), PLACE)


def test_without_a_token_nothing_was_sent(calls: Calls):
    with pytest.raises(CloudUnreachable):
        calls.change(Script([auth.TransportError("no token")]), PLACE)


def test_a_connection_that_breaks_leaves_it_open_what_was_done(calls: Calls):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(Unclear):
            calls.change(_to(f"http://127.0.0.1:{server.getsockname()[1]}/"), PLACE)
        thread.join()


@pytest.mark.parametrize(
    ("repeats", "elapsed", "luck", "pause"),
    [
        (0, 0, 1, 0.5),
        (0, 0, 0, 0.25),
        (3, 0, 1, 4),
        (9, 0, 1, 8),
        (10_000, 0, 0.5, 6),
        (9, 12, 1, None),
        (9, 11.9, 1, 8),
        (0, 20, 0, None),
    ],
)
def test_waits_double_within_a_total(repeats: int, elapsed: float, luck: float, pause: float | None):
    assert Patience(total=20, first=0.5, longest=8).pause(repeats, elapsed, luck) == pause


def _never(*_: object) -> NoReturn:
    raise AssertionError("this must not be called")


def test_once_is_once():
    calls = Calls(sleep=_never)
    with pytest.raises(RateLimited):
        calls.once(Script([BUSY]), PLACE)
