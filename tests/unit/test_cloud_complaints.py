"""Whatever Compute Engine complains of becomes one of our errors, which says what to do."""

from collections.abc import Mapping

import pytest

from infra.machines.complaints import Complaint, Place, translate
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
    Unclear,
    Where,
)

PLACE = Place("drawings", "us-central1-a")
EXHAUSTED = "The zone 'projects/drawings/zones/us-central1-a' does not have enough resources available."
PATH = "The resource 'projects/drawings/{}' was not found"


def inside(*codes: str, message: str = "It did not work.", **details: str) -> CloudError:
    """Found in an operation."""
    return translate(Complaint(codes, message, details), PLACE)


def answered(status: int, *codes: str, message: str = "It did not work.") -> CloudError:
    """The answer to a request."""
    return translate(Complaint(codes, message, http=status), PLACE)


@pytest.mark.parametrize(
    ("error", "kind", "where", "said"),
    [
        # A zone has none
        (inside("ZONE_RESOURCE_POOL_EXHAUSTED", message=EXHAUSTED), Stockout, Where.ZONE, "us-central1-a has no such"),
        (inside("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", message=EXHAUSTED), Stockout, Where.ZONE, "other zones"),
        (inside("STOCKOUT"), Stockout, Where.ZONE, "another machine type"),
        (inside("A_NEW_NAME", "resource_availability"), Stockout, Where.ZONE, "at the moment"),
        (answered(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), Stockout, Where.ZONE, "at the moment"),
        # No more allowed
        (
            inside("QUOTA_EXCEEDED", message="Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1."),
            QuotaReached,
            Where.REGION,
            "NVIDIA_L4_GPUS in us-central1 is used up (it is 1 now). Raise it in the console of project drawings",
        ),
        (
            inside("QUOTA_EXCEEDED", message="Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally."),
            QuotaReached,
            Where.EVERYWHERE,
            "GPUS_ALL_REGIONS for all regions together is used up (it is 0 now)",
        ),
        (
            inside(
                "QUOTA_EXCEEDED",
                message="Too many.",
                metricName="compute.googleapis.com/preemptible_nvidia_t4_gpus",
                limit="4",
                region="us-east4",
            ),
            QuotaReached,
            Where.REGION,
            "PREEMPTIBLE_NVIDIA_T4_GPUS in us-east4 is used up (it is 4 now)",
        ),
        (
            answered(403, "quotaExceeded", message="Quota 'CPUS' exceeded.  Limit: 24.0 in region us-central1."),
            QuotaReached,
            Where.REGION,
            "CPUS in us-central1",
        ),
        (inside("QUOTA_EXCEEDED"), QuotaReached, Where.REGION, "The quota of project drawings in us-central1"),
        # Too often
        (answered(403, "rateLimitExceeded", message="Rate Limit Exceeded"), RateLimited, Where.EVERYWHERE, "drawings"),
        (answered(429), RateLimited, Where.EVERYWHERE, "Spotlift waits"),
        (
            answered(
                403,
                "quotaExceeded",
                message="Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'compute'",
            ),
            RateLimited,
            Where.EVERYWHERE,
            "Queries per minute",
        ),
        (inside("RATE_LIMIT_EXCEEDED"), RateLimited, Where.EVERYWHERE, "too many requests"),
        (inside("OPERATION_RATE_EXCEEDED"), RateLimited, Where.EVERYWHERE, "too many requests"),
        # Not allowed
        (
            answered(
                403,
                "forbidden",
                message="Required 'compute.instances.create' permission for 'projects/drawings/zones/us-central1-a/x'",
            ),
            Refused,
            Where.EVERYWHERE,
            "lacks the permission compute.instances.create in project drawings. Give it the role Compute",
        ),
        (
            inside(
                "PERMISSIONS_ERROR", message="The user does not have the permission 'iam.serviceAccounts.actAs' on it"
            ),
            Refused,
            Where.EVERYWHERE,
            "lacks the permission iam.serviceAccounts.actAs in project drawings. Give it the role Service Account User",
        ),
        (answered(403, "somethingNew", message="No way"), Refused, Where.EVERYWHERE, "No way"),
        (
            answered(403, "SERVICE_DISABLED", "accessNotConfigured", message="compute.googleapis.com is off"),
            Refused,
            Where.EVERYWHERE,
            "gcloud services enable compute.googleapis.com --project drawings",
        ),
        (answered(403, "BILLING_DISABLED"), Refused, Where.EVERYWHERE, "billing account"),
        (
            answered(401, "authError", message="Invalid Credentials"),
            Refused,
            Where.EVERYWHERE,
            "application-default login",
        ),
        (answered(412, "conditionNotMet", message="Constraint x violated"), Refused, Where.EVERYWHERE, "Constraint x"),
        # A wrong order
        (
            inside("RESOURCE_NOT_FOUND", message=PATH.format("global/images/spotlift-9")),
            Refused,
            Where.EVERYWHERE,
            "There is no image spotlift-9.",
        ),
        (
            answered(404, "notFound", message=PATH.format("global/images/family/spotlift")),
            Refused,
            Where.EVERYWHERE,
            "There is no image spotlift.",
        ),
        (
            answered(404, "notFound", message=PATH.format("zones/us-central1-a/machineTypes/g9-standard-4")),
            Refused,
            Where.ZONE,
            "There is no machine type g9-standard-4 in us-central1-a. Name another",
        ),
        (
            answered(
                400,
                "invalid",
                message="Invalid value for field 'machineType': 'zones/us-central1-a/machineTypes/g9-standard-4'. "
                "Machine type with name 'g9-standard-4' does not exist in zone 'us-central1-a'.",
            ),
            Refused,
            Where.ZONE,
            "There is no machine type g9-standard-4 in us-central1-a",
        ),
        (
            answered(400, "invalid", message="Invalid value for field 'zone': 'moon1-a'. Unknown zone."),
            Refused,
            Where.ZONE,
            "There is no zone moon1-a. Leave it out",
        ),
        (
            answered(404, "notFound", message=PATH.format("zones/moon1-a")),
            Refused,
            Where.ZONE,
            "There is no zone moon1-a. Leave it out",
        ),
        (
            answered(404, "notFound", message="The resource 'projects/drawings' was not found"),
            Refused,
            Where.EVERYWHERE,
            "There is no project drawings, or the account",
        ),
        (
            answered(
                400,
                "invalid",
                message="Invalid value for field 'resource.disks[0].initializeParams.sourceImage': "
                "'projects/p/global/images/spotlift-9'. The referenced image resource cannot be found.",
            ),
            Refused,
            Where.EVERYWHERE,
            "There is no image spotlift-9.",
        ),
        (
            answered(404, "notFound", message=PATH.format("zones/us-central1-a/imageFamilyViews/spotlift")),
            Refused,
            Where.EVERYWHERE,
            "There is no image spotlift.",
        ),
        (
            answered(404, "notFound", message=PATH.format("regions/us-central1/subnetworks/ours")),
            Refused,
            Where.REGION,
            "There is no subnetwork ours in us-central1",
        ),
        (
            answered(400, "invalid", message="Invalid name"),
            Refused,
            Where.EVERYWHERE,
            "Invalid name. Correct the settings",
        ),
        (inside("INVALID_USAGE", message="GPUs and live migration"), Refused, Where.EVERYWHERE, "live migration"),
        (answered(418), Refused, Where.EVERYWHERE, "refuses the request (418)"),
        # The thing itself
        (
            answered(404, "notFound", message=PATH.format("zones/us-central1-a/instances/x")),
            NotThere,
            None,
            "instances/x",
        ),
        (answered(409, "alreadyExists"), AlreadyThere, None, "there already"),
        (inside("RESOURCE_ALREADY_EXISTS"), AlreadyThere, None, "there already"),
        (answered(400, "resourceNotReady"), Temporary, None, "busy"),
        (answered(409), Temporary, None, "busy"),
        # Troubles of the cloud's own
        (answered(503, "backendError"), CloudUnreachable, None, "backendError"),
        (answered(500), CloudUnreachable, None, "500"),
        (
            inside("INTERNAL_ERROR", message="Try again later."),
            Temporary,
            None,
            "(INTERNAL_ERROR): Try again later. Spot",
        ),
        # What nobody knows
        (inside("QUANTUM_FLUCTUATION", message="Who knows?"), Temporary, None, "(QUANTUM_FLUCTUATION): Who knows?"),
        (inside(), Temporary, None, "without a code"),
        (answered(302), Temporary, None, "302"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, CloudError) else "",
)
def test_a_complaint_means(error: CloudError, kind: type[CloudError], where: Where | None, said: str):
    assert type(error) is kind, error
    assert where is None or error.where is where
    assert said in str(error)
    assert str(error).endswith((".", "drawings")), "a sentence"


@pytest.mark.parametrize(
    ("details", "zones"),
    [
        ({}, ()),
        ({"zonesAvailable": ""}, ()),
        ({"zonesAvailable": "us-central1-b"}, ("us-central1-b",)),
        ({"zonesAvailable": "us-central1-b,us-central1-c"}, ("us-central1-b", "us-central1-c")),
        ({"zonesAvailable": "us-central1-a, us-central1-f"}, ("us-central1-f",)),
    ],
)
def test_a_stockout_tells_where_there_are_some(details: Mapping[str, str], zones: tuple[str, ...]):
    error = inside("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", **details)
    assert isinstance(error, Stockout)
    assert error.zones_available == zones
    assert all(zone in str(error) for zone in zones)


def test_a_quota_names_its_metric():
    error = inside("QUOTA_EXCEEDED", message="Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.")
    assert isinstance(error, QuotaReached)
    assert error.metric == "GPUS_ALL_REGIONS"


def test_what_is_there_already_must_be_looked_for():
    assert isinstance(answered(409, "alreadyExists"), Unclear)
