"""What Compute Engine says went wrong, turned into our errors: one table of its codes, whatever way they come.

The same trouble may come as an HTTP answer (`rateLimitExceeded`) or, accepted at first, inside an operation
(`ZONE_RESOURCE_POOL_EXHAUSTED`). Both are a `Complaint` here. Pure; every message ends with what to do.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.machines.errors import (
    AlreadyThere,
    CloudError,
    CloudUnreachable,
    NotThere,
    QuotaReached,
    RateLimited,
    Refused,
    Stockout,
    Temporary,
    Where,
)
from infra.machines.orders import region_of


@dataclass(frozen=True)
class Complaint:
    """One error as the cloud tells it."""

    codes: tuple[str, ...]
    """What it calls the trouble, the most telling first."""
    message: str
    details: Mapping[str, str] = field(default_factory=dict)
    """Its machine-readable part: `zonesAvailable`, `metricName`, `limit`, `region`, …"""
    http: int | None = None
    """Status of the HTTP answer; None when it was found inside an operation."""


@dataclass(frozen=True)
class Place:
    """Where the request went."""

    project: str
    zone: str = ""


def translate(complaint: Complaint, place: Place) -> CloudError:
    """Our error for it. A code that nobody knows is temporary: the pool goes on, and the message names the code."""
    if _TOO_OFTEN.search(complaint.message):
        return _rate_limited(complaint, place)
    status = () if complaint.http is None else (str(complaint.http),)
    for code in (*map(_normal, complaint.codes), *status):
        meaning = _MEANINGS.get(code)
        if meaning is not None:
            return meaning(complaint, place)
    name = ", ".join((*complaint.codes, *status)) or "without a code"
    if complaint.http is not None and 400 <= complaint.http < 500:
        return Refused(f"Compute Engine refuses the request ({name}): {_said(complaint)}.")
    return Temporary(
        f"Compute Engine reports a trouble that Spotlift does not know ({name}): {_said(complaint)}. "
        "Spotlift tries again."
    )


def _stockout(complaint: Complaint, place: Place) -> CloudError:
    available = tuple(
        zone for zone in re.split(r"[,\s]+", complaint.details.get("zonesAvailable", "")) if zone and zone != place.zone
    )
    elsewhere = f"; it has some in {', '.join(available)}" if available else ""
    return Stockout(
        f"{place.zone or 'The zone'} has no such machine at the moment{elsewhere}. "
        "Spotlift tries other zones; more zones or another machine type help.",
        available,
    )


def _quota(complaint: Complaint, place: Place) -> CloudError:
    said = _QUOTA.search(complaint.message)
    metric = (said["metric"] if said else complaint.details.get("metricName", "")).rpartition("/")[2].upper()
    limit = complaint.details.get("limit") or (said["limit"] if said else None)
    everywhere = metric.endswith("_ALL_REGIONS") or complaint.details.get("region") == "global"
    everywhere |= said is not None and said["region"] is None
    region = complaint.details.get("region") or (said["region"] if said else None) or region_of(place.zone)
    where = "for all regions together" if everywhere else f"in {region or 'this region'}"
    now = f" (it is {_number(limit)} now)" if limit else ""
    other = "" if everywhere else ", or let the pool use zones of other regions"
    return QuotaReached(
        f"The quota {metric or 'of project ' + place.project} {where} is used up{now}. Raise it in the console of "
        f"project {place.project}, under IAM & Admin, Quotas{other}.",
        metric,
        Where.EVERYWHERE if everywhere else Where.REGION,
    )


def _rate_limited(complaint: Complaint, place: Place) -> CloudError:
    return RateLimited(
        f"Compute Engine gets too many requests from project {place.project}: {_said(complaint)}. Spotlift waits; "
        "if it lasts, look for other programs that use the API of this project."
    )


def _forbidden(complaint: Complaint, place: Place) -> CloudError:
    permission = _PERMISSION.search(complaint.message)
    if permission is None or "permission" not in complaint.message.lower():
        return Refused(
            f"Project {place.project} does not allow this: {_said(complaint)}. "
            "Ask whoever owns the project, or let `spotlift doctor` check the permissions."
        )
    role = next((role for start, role in _ROLES if permission[1].startswith(start)), _ROLES[-1][1])
    return Refused(
        f"The account that Spotlift acts as lacks the permission {permission[1]} in project {place.project}. "
        f"Give it the role {role}."
    )


def _disabled(complaint: Complaint, place: Place) -> CloudError:
    del complaint
    return Refused(
        f"The Compute Engine API is not enabled in project {place.project}. Enable it: "
        f"gcloud services enable compute.googleapis.com --project {place.project}"
    )


def _unpaid(complaint: Complaint, place: Place) -> CloudError:
    return Refused(f"Project {place.project} cannot be billed: {_said(complaint)}. Link a billing account to it.")


def _strangers(complaint: Complaint, place: Place) -> CloudError:
    del place
    return Refused(
        f"Google does not accept the credentials: {_said(complaint)}. "
        "Run `gcloud auth application-default login`, or attach a service account to this machine."
    )


def _missing_part(complaint: Complaint, place: Place) -> CloudError:
    """Something that an order names does not exist: an image, a machine type, a network."""
    return _no_such_part(complaint, place) or Refused(
        f"Something that the request names does not exist: {_said(complaint)}. Correct it in the settings of the pool."
    )


def _bad_request(complaint: Complaint, place: Place) -> CloudError:
    return (
        _no_such_zone(complaint)
        or _no_such_part(complaint, place)
        or Refused(
            f"Compute Engine cannot do what was asked: {_said(complaint)}. Correct the settings of the pool.",
            Where.ZONE if _IN_THIS_ZONE.search(complaint.message) else Where.EVERYWHERE,
        )
    )


def _no_such_part(complaint: Complaint, place: Place) -> Refused | None:
    part = _PART.search(complaint.message)
    if part is None or not _ABSENT.search(complaint.message):
        return None
    what, advice, where = _PARTS[part["kind"]]
    there = {Where.ZONE: f" in {place.zone}", Where.REGION: f" in {region_of(place.zone)}"}.get(where, "")
    return Refused(f"There is no {what} {part['name']}{there}. {advice}", where)


def _no_such_zone(complaint: Complaint) -> Refused | None:
    zone = _ZONE.search(complaint.message)
    if zone is None:
        return None
    return Refused(f"There is no zone {zone['asked'] or zone['unknown']}. Leave it out of the zones.", Where.ZONE)


def _not_there(complaint: Complaint, place: Place) -> CloudError:
    """A machine or an operation that is not there (any more); the rest was wrong from the beginning."""
    if _PROJECT.search(complaint.message):
        return Refused(
            f"There is no project {place.project}, or the account that Spotlift acts as may not see it. "
            "Correct the project in the settings, or give the account a role in it."
        )
    return (
        _no_such_zone(complaint)
        or _no_such_part(complaint, place)
        or NotThere(f"There is no such thing (any more): {_said(complaint)}.")
    )


def _already_there(complaint: Complaint, place: Place) -> CloudError:
    del place
    return AlreadyThere(f"It is there already: {_said(complaint)}.")


def _busy(complaint: Complaint, place: Place) -> CloudError:
    del place
    return Temporary(f"Compute Engine is still busy with it: {_said(complaint)}. Spotlift asks again.")


def _hiccup(complaint: Complaint, place: Place) -> CloudError:
    del place
    code = complaint.codes[0] if complaint.codes else complaint.http
    said = f"Compute Engine has a trouble of its own ({code}): {_said(complaint)}. Spotlift asks again."
    return Temporary(said) if complaint.http is None else CloudUnreachable(said)


Meaning = Callable[[Complaint, Place], CloudError]

_MEANINGS: Final[Mapping[str, Meaning]] = {
    # A zone has none. The last two are reasons in the details of newer answers.
    "ZONE_RESOURCE_POOL_EXHAUSTED": _stockout,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": _stockout,
    "RESOURCE_POOL_EXHAUSTED": _stockout,
    "STOCKOUT": _stockout,
    "RESOURCE_AVAILABILITY": _stockout,
    # The project may not have more
    "QUOTA_EXCEEDED": _quota,
    "LIMIT_EXCEEDED": _quota,
    # Too many requests
    "RATE_LIMIT_EXCEEDED": _rate_limited,
    "USER_RATE_LIMIT_EXCEEDED": _rate_limited,
    "OPERATION_RATE_EXCEEDED": _rate_limited,
    "RESOURCE_OPERATION_RATE_EXCEEDED": _rate_limited,
    "429": _rate_limited,
    # Somebody must allow it first
    "PERMISSIONS_ERROR": _forbidden,
    "PERMISSION_DENIED": _forbidden,
    "IAM_PERMISSION_DENIED": _forbidden,
    "INSUFFICIENT_PERMISSIONS": _forbidden,
    "CONDITION_NOT_MET": _forbidden,
    "FORBIDDEN": _forbidden,
    "403": _forbidden,
    "SERVICE_DISABLED": _disabled,
    "API_DISABLED": _disabled,
    "ACCESS_NOT_CONFIGURED": _disabled,
    "BILLING_DISABLED": _unpaid,
    "BILLING_NOT_ENABLED": _unpaid,
    # Who are you?
    "AUTH_ERROR": _strangers,
    "UNAUTHENTICATED": _strangers,
    "401": _strangers,
    # The order is wrong
    "RESOURCE_NOT_FOUND": _missing_part,
    "IMAGE_NOT_FOUND": _missing_part,
    "INVALID_USAGE": _bad_request,
    "INVALID_FIELD_VALUE": _bad_request,
    "UNSUPPORTED_OPERATION": _bad_request,
    "BAD_REQUEST": _bad_request,
    "INVALID": _bad_request,
    "REQUIRED": _bad_request,
    "400": _bad_request,
    # What was asked for, itself
    "NOT_FOUND": _not_there,
    "404": _not_there,
    "ALREADY_EXISTS": _already_there,
    "RESOURCE_ALREADY_EXISTS": _already_there,
    "RESOURCE_NOT_READY": _busy,
    "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": _busy,
    "409": _busy,
    # A trouble of the cloud's own
    "INTERNAL_ERROR": _hiccup,
    "BACKEND_ERROR": _hiccup,
    "SERVICE_UNAVAILABLE": _hiccup,
    "UNAVAILABLE": _hiccup,
    "408": _hiccup,
    "500": _hiccup,
    "502": _hiccup,
    "503": _hiccup,
    "504": _hiccup,
}

_ADMIN = "Compute Instance Admin (v1) (roles/compute.instanceAdmin.v1)"
_ROLES: Final = (
    ("iam.serviceAccounts.", "Service Account User (roles/iam.serviceAccountUser) on the machines' service account"),
    ("compute.images.", "Compute Image User (roles/compute.imageUser) in the project of the image"),
    ("compute.subnetworks.", "Compute Network User (roles/compute.networkUser) in the project of the network"),
    ("compute.", _ADMIN),
    ("", "that contains it"),
)
"""Start of a permission, and the smallest usual role that has it."""

_PARTS: Final = {
    "images": (
        "image",
        "Look at `gcloud compute images list`, and name an image or a family that exists.",
        Where.EVERYWHERE,
    ),
    "imageFamilyViews": (
        "image",
        "Look at `gcloud compute images list`, and name an image or a family that exists.",
        Where.EVERYWHERE,
    ),
    "machineTypes": ("machine type", "Name another machine type, or zones that offer it.", Where.ZONE),
    "acceleratorTypes": ("GPU type", "Name another GPU type, or zones that offer it.", Where.ZONE),
    "diskTypes": ("disk type", "Name another disk type, or zones that offer it.", Where.ZONE),
    "subnetworks": ("subnetwork", "Create it there, or leave out the zones of that region.", Where.REGION),
    "networks": ("network", "Name a network of this project.", Where.EVERYWHERE),
}

_QUOTA: Final = re.compile(
    r"Quota '(?P<metric>\w+)' exceeded\.?\s+Limit: (?P<limit>[\d.]+)(?: in region (?P<region>[a-z0-9-]+[a-z0-9]))?"
)
_TOO_OFTEN: Final = re.compile(r"rate limit exceeded|quota metric '[^']*(requests|queries)|per minute", re.IGNORECASE)
_PERMISSION: Final = re.compile(r"\b((?:compute|iam|serviceusage|resourcemanager)\.(?!googleapis)\w+\.\w+)\b")
_PART: Final = re.compile(rf"\b(?P<kind>{'|'.join(_PARTS)})/(?:family/)?(?P<name>[\w.-]*\w)")
_ZONE: Final = re.compile(
    r"'projects/[^/']+/zones/(?P<asked>[^/']+)' was not found|'zone': '(?P<unknown>[^']*)'\. Unknown zone"
)
_PROJECT: Final = re.compile(r"'projects/[^/']+' was not found")
_ABSENT: Final = re.compile(r"not found|does not exist|cannot be found", re.IGNORECASE)
_IN_THIS_ZONE: Final = re.compile(
    r"\b(in|by|available in) (this |the )?zone\b|machineType|acceleratorType", re.IGNORECASE
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _normal(code: str) -> str:
    """`rateLimitExceeded` and `RATE_LIMIT_EXCEEDED` are the same."""
    return (code if code.isupper() else _HUMP.sub("_", code)).upper().replace("-", "_")


def _said(complaint: Complaint) -> str:
    return " ".join(complaint.message.split()).rstrip(".") or "it does not say why"


def _number(limit: str) -> str:
    return limit.removesuffix(".0")
