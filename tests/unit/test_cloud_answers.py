"""What the cloud's answers mean: how an operation ended, and which zones said nothing."""

import json
from typing import Any

import pytest
from google.cloud import compute_v1

from infra.machines.cloud import departure_of, outcome_of, silent_zones
from infra.machines.complaints import Place
from infra.machines.errors import CloudError, CloudUnreachable, QuotaReached, Refused, Stockout, Temporary, Where
from infra.machines.spec import Departure

PLACE = Place("drawings", "us-central1-a")

STOCKOUT = {
    "code": "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
    "message": "The zone does not have enough resources available to fulfill the request.",
    "errorDetails": [
        {"help": {"links": [{"description": "More", "url": "https://cloud.google.com/compute/docs/resource-error"}]}},
        {"localizedMessage": {"locale": "en-US", "message": "None at the moment."}},
        {
            "errorInfo": {
                "domain": "compute.googleapis.com",
                "reason": "resource_availability",
                "metadatas": {"vmType": "g2-standard-4", "zone": "us-central1-a", "zonesAvailable": "us-central1-c"},
            }
        },
    ],
}
QUOTA = {
    "code": "QUOTA_EXCEEDED",
    "message": "Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 2.0 in region us-central1.",
    "errorDetails": [
        {
            "quotaInfo": {
                "metricName": "compute.googleapis.com/nvidia_l4_gpus",
                "limitName": "NVIDIA-L4-GPUS-per-project-region",
                "dimensions": {"region": "us-central1"},
                "limit": 2,
            }
        }
    ],
}


def operation(**fields: Any) -> compute_v1.Operation:
    message: compute_v1.Operation = compute_v1.Operation.from_json(json.dumps({"name": "op", **fields}))
    return message


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_an_operation_goes_on(status: str):
    assert not outcome_of(operation(status=status), PLACE).done


def test_an_operation_is_done():
    outcome = outcome_of(operation(status="DONE", progress=100), PLACE)
    assert outcome.done
    assert outcome.error is None


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"error": {"errors": [STOCKOUT]}, "httpErrorStatusCode": 503}, Stockout),
        ({"error": {"errors": [QUOTA]}, "httpErrorStatusCode": 403}, QuotaReached),
        ({"error": {"errors": [{"code": "RESOURCE_NOT_FOUND", "message": "?"}]}}, Refused),
        ({"error": {"errors": [{"code": "SOMETHING_NEW", "message": "?"}]}, "httpErrorStatusCode": 400}, Temporary),
        ({"httpErrorStatusCode": 403, "httpErrorMessage": "FORBIDDEN"}, Refused),
        ({"error": {"errors": [{"code": "RESOURCE_ALREADY_EXISTS", "message": "?"}]}}, type(None)),
    ],
)
def test_an_operation_has_failed(fields: dict[str, Any], kind: type[CloudError]):
    outcome = outcome_of(operation(status="DONE", **fields), PLACE)
    assert outcome.done
    assert type(outcome.error) is kind


def test_the_details_of_a_failure_are_read():
    stockout = outcome_of(operation(status="DONE", error={"errors": [STOCKOUT]}), PLACE).error
    assert isinstance(stockout, Stockout)
    assert stockout.zones_available == ("us-central1-c",)
    quota = outcome_of(operation(status="DONE", error={"errors": [{**QUOTA, "message": "Too many."}]}), PLACE).error
    assert isinstance(quota, QuotaReached)
    assert (quota.metric, quota.where) == ("NVIDIA_L4_GPUS", Where.REGION)
    assert "NVIDIA_L4_GPUS in us-central1 is used up (it is 2 now)" in str(quota)


def page(**fields: Any) -> Any:
    """One page of a listing, as the plain message."""
    return compute_v1.InstanceAggregatedList.pb(compute_v1.InstanceAggregatedList.from_json(json.dumps(fields)))


SCOPE = [{"key": "scope", "value": "zones/us-central1-b"}]
EMPTY = {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results.", "data": SCOPE}
GONE = {"code": "UNREACHABLE", "message": "It cannot be reached.", "data": SCOPE}


@pytest.mark.parametrize(
    ("fields", "silent"),
    [
        ({}, set()),
        ({"items": {"zones/us-central1-b": {"warning": EMPTY}}}, set()),
        ({"items": {"zones/us-central1-b": {"warning": GONE}}}, {"us-central1-b"}),
        (
            {"unreachables": ["zones/us-central1-b", "https://x/projects/p/zones/us-east4-a"]},
            {"us-central1-b", "us-east4-a"},
        ),
        ({"warning": GONE}, {"us-central1-b"}),
        ({"warning": {**GONE, "code": "PARTIAL_SUCCESS"}}, {"us-central1-b"}),
        ({"warning": EMPTY}, set()),
    ],
)
def test_a_zone_that_says_nothing_is_named(fields: dict[str, Any], silent: set[str]):
    assert set(silent_zones(page(**fields))) == silent


def test_a_listing_that_misses_something_unnamed_teaches_nothing():
    with pytest.raises(CloudUnreachable):
        list(silent_zones(page(warning={"code": "PARTIAL_SUCCESS", "message": "Some are missing."})))


FAILED = {"errors": [{"code": "INTERNAL_ERROR", "message": "?"}]}


@pytest.mark.parametrize(
    ("types", "departure"),
    [
        ([], Departure.UNKNOWN),
        (["insert", "setLabels"], Departure.UNKNOWN),
        (["insert", "compute.instances.hostError"], Departure.UNKNOWN),
        (["insert", "delete"], Departure.DELETED),
        (["insert", "stop", "delete"], Departure.DELETED),
        (["insert", "compute.instances.preempted"], Departure.PREEMPTED),
        (["insert", "simulateMaintenanceEvent", "compute.instances.preempted", "delete"], Departure.PREEMPTED),
        (["insert", "compute.instances.terminateOnHostMaintenance"], Departure.PREEMPTED),
        (["insert", "compute.instances.deferredDelete"], Departure.TIME_LIMIT),
        (["insert", "compute.instances.deferredStop", "delete"], Departure.TIME_LIMIT),
        (["insert", "compute.instances.guestTerminate", "delete"], Departure.STOPPED_ITSELF),
        (["insert", "compute.instances.guestTerminate", "compute.instances.deferredDelete"], Departure.STOPPED_ITSELF),
    ],
)
def test_the_first_operation_that_ends_a_machine_tells_why_it_went(types: list[str], departure: Departure):
    # Times of different zones: what is later on the clock may be earlier.
    hours = [
        f"2026-11-25T{hour:02}:00:00.000{zone}" for hour, zone in ((9, "+02:00"), (8, "Z"), (1, "-08:00"), (10, "Z"))
    ]
    operations = [operation(operationType=it, insertTime=when) for it, when in zip(types, hours, strict=False)]
    assert departure_of(operations[::-1]) is departure


def test_a_machine_that_shut_itself_down_because_it_was_preempted_was_preempted():
    """It hears of it before the cloud ends it, and has no reason to wait for that."""
    shut = operation(operationType="compute.instances.guestTerminate", insertTime="2026-11-25T09:00:05Z")
    taken = operation(operationType="compute.instances.preempted", insertTime="2026-11-25T09:02:00Z")
    assert departure_of([shut, taken]) is Departure.PREEMPTED


def test_a_deletion_that_failed_ended_nothing():
    at = "2026-11-25T09:00:00Z"
    assert departure_of([operation(operationType="delete", insertTime=at, error=FAILED)]) is Departure.UNKNOWN
