"""One call to the cloud: its troubles become our errors, and what is safe to repeat is repeated for a while.

Reading is repeated after any temporary trouble. A request that changes something is repeated only if the cloud turned
it away unread (too many requests), with the same `request_id`: after a lost answer only a look can tell what happened.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.protobuf.json_format import Error as NotTheRightJson  # type: ignore[import-untyped]

from infra.machines.complaints import Complaint, Place, translate
from infra.machines.errors import CloudError, CloudUnreachable, RateLimited, Refused, Unclear
from infra.machines.patience import Patience

Answer = TypeVar("Answer")

# The client's transport is `requests`, whose errors are all OSErrors.
_TROUBLES = (GoogleAPIError, GoogleAuthError, OSError, NotTheRightJson)
_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
)


@dataclass(frozen=True)
class Calls:
    """Makes calls with patience; the clock, the sleep and the luck are arguments."""

    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    luck: Callable[[], float] = random.random

    def read(self, ask: Callable[[], Answer], place: Place) -> Answer:
        """The answer to a question that changes nothing. Raises CloudError."""
        return self._persist(ask, place, changes=False)

    def change(self, ask: Callable[[], Answer], place: Place) -> Answer:
        """The answer to a request that changes something. Raises CloudError: Unclear if it may have been done."""
        return self._persist(ask, place, changes=True)

    def once(self, ask: Callable[[], Answer], place: Place, changes: bool = False) -> Answer:
        """The same without a second try."""
        try:
            return ask()
        except _TROUBLES as error:
            raise understand(error, place, changes) from error

    def _persist(self, ask: Callable[[], Answer], place: Place, changes: bool) -> Answer:
        worth_repeating = (RateLimited,) if changes else (RateLimited, CloudUnreachable)
        started = self.clock()
        for repeats in count():
            try:
                return self.once(ask, place, changes)
            except worth_repeating:
                pause = self.patience.pause(repeats, self.clock() - started, self.luck())
                if pause is None:
                    raise
                self.sleep(pause)
        raise AssertionError("counting never ends")


def understand(error: Exception, place: Place, changes: bool) -> CloudError:
    """Our error for what the client raised. `changes`: the request was to change something."""
    if isinstance(error, GoogleAPICallError):
        trouble = translate(complaint_of(error), place)
    elif isinstance(error, GoogleAuthError):  # no token, so nothing was sent
        if error.retryable or isinstance(error, TransportError):
            return CloudUnreachable(f"Google's tokens cannot be had: {error}")
        return Refused(
            f"Google does not accept the credentials: {error}. "
            "Run `gcloud auth application-default login`, or attach a service account to this machine."
        )
    else:
        trouble = CloudUnreachable(f"Compute Engine does not answer: {_briefly(error)}")
    if changes and isinstance(trouble, CloudUnreachable) and not _never_sent(error):
        return Unclear(f"It is not known whether Compute Engine did as asked, the answer is lost: {_briefly(error)}")
    return trouble


def complaint_of(error: GoogleAPICallError) -> Complaint:
    """What an HTTP answer says: `error.errors[0]` is Compute Engine's own form, `error.details` the newer one."""
    first: Mapping[str, Any] = next((entry for entry in error.errors if isinstance(entry, Mapping)), {})
    details: dict[str, str] = {}
    codes: list[str] = []
    for detail in error.details:
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith("google.rpc.ErrorInfo"):
            codes.append(str(detail.get("reason", "")))
            details |= {str(key): str(value) for key, value in dict(detail.get("metadata") or {}).items()}
    codes.append(str(first.get("reason", "")))
    return Complaint(
        tuple(code for code in codes if code), str(first.get("message") or error.message), details, _status(error)
    )


def _status(error: GoogleAPICallError) -> int:
    return int(error.code) if error.code is not None else getattr(error.response, "status_code", 500)


def _briefly(error: Exception) -> str:
    """What was wrong with a connection, without the whole request."""
    reasons = (cause.reason for cause in _causes(error) if isinstance(cause, urllib3.exceptions.MaxRetryError))
    return str(next(reasons, None) or error)


def _never_sent(error: BaseException) -> bool:
    """Whether no connection came about, so that the cloud cannot have seen the request."""
    return any(isinstance(cause, _NEVER_SENT) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: `requests` puts the cause among the arguments, urllib3 calls it the reason."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
