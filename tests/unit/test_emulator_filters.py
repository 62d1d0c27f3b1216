"""Filter expressions of list requests, as people and programs write them."""

import pytest

from infra.emulator.complaints import ApiError
from infra.emulator.filters import parse

VM = {
    "name": "vm-1",
    "status": "RUNNING",
    "id": "17",
    "labels": {"spotlift-pool": "a", "owner": "me"},
    "targetLink": "https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/vm-1",
    "scheduling": {"automaticRestart": False, "preemptible": True},
    "disks": [{"boot": True, "diskSizeGb": "50"}, {"boot": False, "diskSizeGb": "10"}],
    "progress": 50,
    "tags": {"items": ["web", "db"]},
}


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "name=vm-1",
        "name = vm-1",
        'name="vm-1"',
        "name='vm-1'",
        "labels.spotlift-pool=a",
        'labels."spotlift-pool"=a',
        "labels.owner:*",
        "labels:owner",
        "labels.missing!=x",
        "NOT labels.missing:*",
        "-labels.missing:*",
        "status!=STOPPING",
        "status=RUNNING AND name=vm-1",
        "status=RUNNING name=vm-1",
        "(status=RUNNING) (name=vm-1)",
        "(status=STOPPING) OR (name=vm-1)",
        "status=STOPPING OR status=RUNNING AND name=vm-1",
        "name=vm-1 AND status=STOPPING OR status=RUNNING",
        "(name=vm-2 OR (name=vm-1 AND labels.owner=me))",
        "name=vm-*",
        "name:m-",
        "scheduling.preemptible=true",
        "(scheduling.automaticRestart = false)",
        "disks.boot=true",
        "tags.items:web",
        "tags.items=db",
        "progress>=50",
        "progress=50",
        "progress<60",
        "id>9",
        "name eq vm-1",
        "name eq 'vm-[0-9]+'",
        "name eq (vm|node)-1",
        "name ne vm",
        'targetLink eq ".*/instances/vm-1"',
        "(name eq vm-.*) (status eq RUNNING)",
    ],
)
def test_it_holds(expression: str):
    assert parse(expression)(VM)


@pytest.mark.parametrize(
    "expression",
    [
        "name=vm-2",
        "name!=vm-1",
        "labels.spotlift-pool=b",
        "labels.missing:*",
        "labels.missing=x",
        "status=RUNNING AND name=vm-2",
        "(status=RUNNING) (name=vm-2)",
        "name=vm-2 OR name=vm-3",
        "name=vm-2 AND status=STOPPING OR status=RUNNING",
        "scheduling.preemptible=false",
        "progress>50",
        "name eq vm",
        "name ne vm-.*",
        'targetLink eq ".*/instances/vm"',
        "NOT status=RUNNING",
        "nothing.at.all=1",
    ],
)
def test_it_does_not_hold(expression: str):
    assert not parse(expression)(VM)


@pytest.mark.parametrize(
    "expression",
    [
        "name",
        "=vm",
        "name=",
        "name==vm",
        "(name=vm",
        "name=vm)",
        "name=vm AND",
        "OR name=vm",
        "name eq '('",
        "a b c",
        "()",
    ],
)
def test_nobody_understands_it(expression: str):
    with pytest.raises(ApiError) as caught:
        parse(expression)
    assert (caught.value.code, caught.value.reason) == (400, "invalid")
    assert expression in caught.value.message
