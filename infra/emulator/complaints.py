"""How Compute Engine says no: the error bodies of HTTP answers, and the errors inside operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self, code: int, reason: str, message: str, domain: str = "global", details: Sequence[Json] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.domain = domain
        self.details = details

    def body(self) -> Json:
        first = {"message": self.message, "domain": self.domain, "reason": self.reason}
        error: Json = {"code": self.code, "message": self.message, "errors": [first]}
        if self.details:  # the newer form carries a status and details
            error |= {"status": _STATUS.get(self.code, "UNKNOWN"), "details": list(self.details)}
        return {"error": error}


def not_found(path: str) -> ApiError:
    return ApiError(404, "notFound", f"The resource '{path}' was not found")


def already_exists(path: str) -> ApiError:
    return ApiError(409, "alreadyExists", f"The resource '{path}' already exists")


def invalid(field: str, value: object, why: str) -> ApiError:
    return ApiError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def required(field: str) -> ApiError:
    return ApiError(400, "required", f"Required field '{field}' not specified")


def unsupported(message: str) -> ApiError:
    return ApiError(400, "badRequest", message)


def too_many_requests(project: str) -> ApiError:
    number = f"projects/{project}"
    return ApiError(
        403,
        "rateLimitExceeded",
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'compute.googleapis.com' "
        f"for consumer '{number}'.",
        "usageLimits",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {
                    "service": "compute.googleapis.com",
                    "consumer": number,
                    "quota_metric": "compute.googleapis.com/default",
                },
            }
        ],
    )


def unavailable() -> ApiError:
    return ApiError(503, "backendError", "The service is currently unavailable. Please try again in 30 seconds.")


@dataclass(frozen=True)
class Failure:
    """Why an operation failed: what stands in its `error`, and as what it would have gone over HTTP."""

    code: str
    message: str
    http: int
    http_message: str
    details: tuple[Json, ...] = ()

    def error(self) -> Json:
        first: Json = {"code": self.code, "message": self.message}
        if self.details:
            first["errorDetails"] = list(self.details)
        return {"errors": [first]}


def stockout(project: str, zone: str, machine_type: str, gpus: str, elsewhere: Sequence[str] | None) -> Failure:
    """A zone has no such machine. `gpus` as in `nvidia-tesla-t4:1`; `elsewhere`: zones that have some, if it says."""
    place = f"projects/{project}/zones/{zone}"
    where = f"The zone '{place}' does not have enough resources available to fulfill the request."
    if elsewhere is None:
        message = f"{where}  Try a different zone, or try again later."
        return Failure("ZONE_RESOURCE_POOL_EXHAUSTED", message, 503, "SERVICE UNAVAILABLE")
    kind, _, count = gpus.partition(":")
    machine = f"A {machine_type} VM instance{f' with {count} {kind} accelerator(s)' if gpus else ''}"
    there = f" Consider the {', '.join(elsewhere)} zone(s), which currently have capacity." if elsewhere else ""
    info: Json = {
        "reason": "resource_availability",
        "domain": "compute.googleapis.com",
        "metadatas": {"vmType": machine_type, "attachment": gpus, "zone": zone, "zonesAvailable": ",".join(elsewhere)},
    }
    said = f"{machine} is currently unavailable in the {zone} zone.{there}"
    return Failure(
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
        f"{where}  '(resource type:compute)'.",
        503,
        "SERVICE UNAVAILABLE",
        ({"localizedMessage": {"locale": "en-US", "message": said}}, {"errorInfo": info}),
    )


def quota_exceeded(metric: str, limit: float, region: str | None) -> Failure:
    """More than the project may have; of all regions together if `region` is None."""
    where = f"in region {region}" if region else "globally"
    quota: Json = {
        "metricName": f"compute.googleapis.com/{metric.lower()}",
        "limitName": f"{metric.replace('_', '-')}-per-project{'-region' if region else ''}",
        "dimensions": {"region": region or "global"},
        "limit": limit,
    }
    message = f"Quota '{metric}' exceeded.  Limit: {limit:.1f} {where}."
    return Failure("QUOTA_EXCEEDED", message, 403, "FORBIDDEN", ({"quotaInfo": quota},))


def internal_error() -> Failure:
    message = "Internal error. Please try again or contact Google Support. (Code: 'emulated')"
    return Failure("INTERNAL_ERROR", message, 500, "INTERNAL SERVER ERROR")
