"""A running emulator, seen from another process: trouble on command, and a look at its machines. Plain urllib."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_PATIENCE = 10.0
_open = build_opener(ProxyHandler({})).open


class EmulatorError(Exception):
    """It does not answer, or does not do as asked; a sentence."""


@dataclass(frozen=True)
class Remote:
    """The emulator at that URL. Every method raises EmulatorError.

    What happens for a while ends after so many `times`, so many `seconds`, or (neither given) when it is ordered
    with `off`, or by `calm`.
    """

    url: str

    def machines(self) -> list[dict[str, Any]]:
        """Name, project, zone, status, machine_type, gpus, spot, booted, preempted, created, labels of each."""
        return list(self._ask("GET", "machines")["machines"])

    def machine(self, name: str) -> dict[str, Any] | None:
        return next((it for it in self.machines() if it["name"] == name), None)

    def faults(self) -> list[dict[str, Any]]:
        """What trouble there is at the moment, as orders."""
        return list(self._ask("GET", "faults")["faults"])

    def inserts(self) -> int:
        """Requests for machines so far."""
        return int(self._ask("GET", "health")["inserts"])

    def order(self, fault: str, **details: Any) -> None:
        """Any trouble, as a script would order it."""
        self._ask("POST", "faults", {"fault": fault, **details})

    def calm(self) -> None:
        """No more trouble of any kind; what was preempted stays so."""
        self._ask("DELETE", "faults")

    def preempt(self, name: str, notice: float | None = 30.0) -> None:
        """Take a spot machine away, so many seconds after telling it; None: at once and unasked."""
        self.order("preempt", name=name, notice=notice)

    def preempt_all(self, notice: float | None = 30.0) -> None:
        self.order("preempt", all=True, notice=notice)

    def preempt_early(self, times: int = 1) -> None:
        """The next spot machines are taken away before they run."""
        self.order("preempt_early", times=times)

    def stockout(
        self,
        zone: str,
        zones_available: Sequence[str] | None = None,
        *,
        seconds: float | None = None,
        times: int | None = None,
        off: bool = False,
    ) -> None:
        """The zone has no machine; the error names `zones_available` if given."""
        zones = None if zones_available is None else list(zones_available)
        self._order("stockout", zone=zone, zones_available=zones, seconds=seconds, times=times, off=off)

    def unreachable(self, zone: str, *, seconds: float | None = None, off: bool = False) -> None:
        """Listings say nothing about the zone."""
        self._order("unreachable", zone=zone, seconds=seconds, off=off)

    def quota(self, metric: str, limit: float | None, region: str | None = None) -> None:
        """`PREEMPTIBLE_NVIDIA_L4_GPUS` of a region, or `GPUS_ALL_REGIONS`; limit None: as it was at first."""
        self.order("quota", metric=metric, limit=limit, region=region)

    def rate_limit(self, times: int | None = None, seconds: float | None = None) -> None:
        """The next requests get 403 rateLimitExceeded."""
        self._order("rate_limit", times=times, seconds=seconds)

    def unavailable(self, times: int | None = None, seconds: float | None = None) -> None:
        """The next requests get 503."""
        self._order("unavailable", times=times, seconds=seconds)

    def lose_answer(self, times: int = 1) -> None:
        """The next inserts are carried out, and their connections closed without an answer."""
        self.order("lose_answer", times=times)

    def delete_fails(
        self, times: int | None = None, seconds: float | None = None, how: Literal["operation", "http"] = "operation"
    ) -> None:
        """Deletions end with an error in the operation, or are answered 503; the machine stays."""
        self._order("delete_fails", times=times, seconds=seconds, how=how)

    def slow_boot(self, delay: float, times: int | None = None, seconds: float | None = None) -> None:
        """The next machines take so many seconds longer from RUNNING to their startup script."""
        self._order("slow_boot", delay=delay, times=times, seconds=seconds)

    def no_boot(self, times: int | None = None, seconds: float | None = None) -> None:
        """The next machines come to RUNNING and never run their startup script."""
        self._order("no_boot", times=times, seconds=seconds)

    def await_answer(self, patience: float = 20.0) -> None:
        """Wait until it answers at all."""
        until = time.monotonic() + patience
        while True:
            try:
                self._ask("GET", "health")
                return
            except EmulatorError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.05)

    def _order(self, fault: str, **details: Any) -> None:
        self.order(fault, **{key: value for key, value in details.items() if value not in (None, False)})

    def _ask(self, method: str, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url.rstrip('/')}/emulator/{what}", content, method=method)
        try:
            with _open(request, timeout=_PATIENCE) as answer:
                return dict(json.loads(answer.read()))
        except HTTPError as error:
            with error:
                raise EmulatorError(_said(error)) from None
        except (OSError, ValueError) as error:
            raise EmulatorError(
                f"no emulator answers at {self.url}: start one with `spotlift up` or `spotlift emulator run`, "
                "or say with --endpoint where it is"
            ) from error


def _said(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the emulator answers {error.code} {error.reason}"
