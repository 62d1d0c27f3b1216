"""Each trouble that the cloud may be in comes back as the error that tells the pool what to do."""

from dataclasses import replace
from datetime import timedelta

import pytest

from infra.machines.cloud import Cloud
from infra.machines.errors import (
    CloudUnreachable,
    QuotaReached,
    RateLimited,
    Refused,
    Stockout,
    Temporary,
    Unclear,
    Where,
)
from infra.machines.spec import Departure
from tests.contract.machines.conftest import IMPATIENT, POOL, SOON, SPEC, ZONE, failure, made
from tests.emulated import emulator
from tests.waiting import eventually


@pytest.mark.parametrize("elsewhere", [None, [], ["us-central1-c", "us-central1-f"]])
def test_a_zone_is_dry(cloud, trouble, order, elsewhere):
    trouble.stockout(ZONE, elsewhere)
    wanted = order()
    error = failure(cloud, cloud.rent(SPEC, wanted))
    assert isinstance(error, Stockout)
    assert error.zones_available == tuple(elsewhere or ())
    assert cloud.instance(wanted.name, ZONE) is None
    made(cloud, cloud.rent(SPEC, there := order("us-central1-c")), there.name)


def test_the_quota_of_a_region_is_used_up(cloud, trouble, order):
    trouble.quota("PREEMPTIBLE_NVIDIA_T4_GPUS", 1, "us-central1")
    made(cloud, cloud.rent(SPEC, first := order()), first.name)
    error = failure(cloud, cloud.rent(SPEC, order("us-central1-b")))
    assert isinstance(error, QuotaReached)
    assert (error.where, error.metric) == (Where.REGION, "PREEMPTIBLE_NVIDIA_T4_GPUS")
    assert "in us-central1 is used up (it is 1 now)" in str(error)
    made(cloud, cloud.rent(SPEC, there := order("us-east4-a")), there.name)


def test_the_quota_of_all_regions_is_used_up(cloud, trouble, order):
    trouble.quota("GPUS_ALL_REGIONS", 0)
    error = failure(cloud, cloud.rent(SPEC, order()))
    assert isinstance(error, QuotaReached)
    assert (error.where, error.metric) == (Where.EVERYWHERE, "GPUS_ALL_REGIONS")


def test_too_many_requests_are_ridden_out(cloud, trouble, order, emulated):
    before = emulated.remote.inserts()
    wanted = order()
    trouble.rate_limit(times=3)
    operation = cloud.rent(SPEC, wanted)
    assert emulated.remote.inserts() == before + 1
    trouble.rate_limit(times=2)
    made(cloud, operation, wanted.name)
    trouble.rate_limit(times=2)
    assert list(cloud.listing(POOL).instances) == [wanted.name]
    trouble.rate_limit(times=2)
    assert cloud.give_back(wanted.name, ZONE) is not None


def test_too_many_requests_for_too_long_are_told(cloud, trouble, order):
    trouble.rate_limit()
    with pytest.raises(RateLimited):
        cloud.rent(SPEC, order())
    with pytest.raises(RateLimited):
        cloud.listing(POOL)


def test_a_question_survives_a_bad_moment(cloud, trouble):
    trouble.unavailable(times=2)
    assert cloud.listing(POOL).instances == {}


def test_a_bad_hour_is_told(cloud, trouble):
    trouble.unavailable()
    with pytest.raises(CloudUnreachable):
        cloud.listing(POOL)


def test_an_order_in_a_bad_moment_is_unclear(cloud, trouble, order):
    trouble.unavailable(times=1)
    with pytest.raises(Unclear):
        cloud.rent(SPEC, order())


def test_a_lost_answer_is_unclear_and_a_look_clears_it(cloud, trouble, order, emulated):
    before = emulated.remote.inserts()
    wanted = order()
    trouble.lose_answer()
    with pytest.raises(Unclear):
        cloud.rent(SPEC, wanted)
    assert list(cloud.listing(POOL).instances) == [wanted.name]
    made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    assert emulated.remote.inserts() == before + 1, "the same request id makes one machine"


def test_a_deletion_fails_for_a_while(cloud, trouble, order):
    wanted = order()
    made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    trouble.delete_fails(times=1)
    deletion = cloud.give_back(wanted.name, ZONE)
    assert deletion is not None
    assert isinstance(failure(cloud, deletion), Temporary)
    trouble.delete_fails(times=1, how="http")
    with pytest.raises(Unclear):
        cloud.give_back(wanted.name, ZONE)
    assert cloud.instance(wanted.name, ZONE) is not None, "only the cloud may say that it is gone"
    deletion = cloud.give_back(wanted.name, ZONE)
    assert deletion is not None
    assert cloud.wait(deletion, SOON).error is None


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        (
            {"image": "projects/debian-cloud/global/images/family/nothing"},
            Where.EVERYWHERE,
            "There is no image nothing",
        ),
        ({"image": "projects/debian-cloud/global/images/none-v1"}, Where.EVERYWHERE, "There is no image none-v1"),
        ({"image": "none"}, Where.EVERYWHERE, "malformed"),
        ({"machine_type": "g9-standard-4", "gpu": None}, Where.ZONE, f"no machine type g9-standard-4 in {ZONE}"),
        ({"gpu": replace(SPEC.gpu, type="nvidia-b9000")}, Where.ZONE, f"no GPU type nvidia-b9000 in {ZONE}"),
        ({"disk_type": "punch-cards"}, Where.ZONE, "no disk type punch-cards"),
        ({"max_run": timedelta(days=365)}, Where.EVERYWHERE, "120 days"),
    ],
)
def test_a_wrong_order_is_refused(cloud, order, change, where, said):
    with pytest.raises(Refused, match=said) as refused:
        cloud.rent(replace(SPEC, **change), order())
    assert refused.value.where is where


def test_a_zone_that_does_not_exist_is_refused(cloud, order):
    with pytest.raises(Refused, match=r"There is no zone moon1-a\.") as refused:
        cloud.rent(SPEC, order("moon1-a"))
    assert refused.value.where is Where.ZONE, "others may exist"


def test_a_silent_zone_says_nothing_about_its_machines(cloud, trouble, order):
    here, there = order("us-central1-a"), order("us-east4-c")
    for wanted in (here, there):
        made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    trouble.unreachable("us-east4-c")
    listing = cloud.listing(POOL)
    assert listing.silent_zones == {"us-east4-c"}
    assert list(listing.instances) == [here.name]
    trouble.unreachable("us-east4-c", off=True)
    assert cloud.listing(POOL).silent_zones == frozenset()


def _gone(cloud: Cloud, name: str, zone: str = ZONE) -> None:
    eventually(f"{name} is gone", lambda: cloud.instance(name, zone) is None, SOON)


@pytest.mark.parametrize("notice", [0.1, None])
def test_a_preempted_machine_tells_why(cloud, trouble, order, notice):
    wanted = order()
    made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    eventually("it runs", lambda: cloud.listing(POOL).instances[wanted.name].status == "RUNNING", SOON)
    assert cloud.why_gone(wanted.name, ZONE) is Departure.UNKNOWN
    trouble.preempt(wanted.name, notice)
    _gone(cloud, wanted.name)
    assert cloud.why_gone(wanted.name, ZONE) is Departure.PREEMPTED


def test_a_machine_is_taken_away_on_request(cloud, order):
    wanted = order()
    soon = replace(SPEC, notice=timedelta(seconds=1))
    made(cloud, cloud.rent(soon, wanted), wanted.name)
    eventually("it runs", lambda: cloud.listing(POOL).instances[wanted.name].status == "RUNNING", SOON)
    assert cloud.wait(cloud.preempt(wanted.name, ZONE), SOON).done
    _gone(cloud, wanted.name)
    assert cloud.why_gone(wanted.name, ZONE) is Departure.PREEMPTED


def test_a_machine_that_shut_itself_down_tells_why(tmp_path, order):
    with emulator(tmp_path) as real:
        cloud = Cloud.at("drawings", real.url)
        wanted = order()
        cloud.rent(replace(SPEC, startup_script="#!/bin/bash\npoweroff\n"), wanted)

        def stopped() -> bool:
            instance = cloud.instance(wanted.name, ZONE)
            return instance is not None and instance.status == "TERMINATED"

        eventually("it stops", stopped, SOON)
        assert cloud.why_gone(wanted.name, ZONE) is Departure.STOPPED_ITSELF
        cloud.close()


def test_why_a_machine_of_another_name_went_is_another_matter(cloud, order):
    first, second = order(name="vm-1"), order(name="vm-1-1")
    for wanted in (first, second):
        made(cloud, cloud.rent(SPEC, wanted), wanted.name)
    cloud.give_back(second.name, ZONE)
    assert cloud.why_gone(first.name, ZONE) is Departure.UNKNOWN


def test_nobody_answers(order, tmp_path):
    with emulator(tmp_path, processes=False) as gone:
        pass
    cloud = Cloud.at("drawings", gone.url, IMPATIENT)
    with pytest.raises(CloudUnreachable):
        cloud.listing(POOL)
    with pytest.raises(CloudUnreachable):  # and not Unclear: nothing was sent
        cloud.rent(SPEC, order())
    cloud.close()
