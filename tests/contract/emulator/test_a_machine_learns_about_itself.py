"""The metadata server of a machine, asked as a machine would, and its identity, checked as Google's is."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import google.auth.transport.requests
import pytest
import requests
from google.oauth2 import id_token

from infra.emulator.remote import Remote
from tests.contract.emulator.renter import PROJECT, ZONE, Renter
from tests.waiting import eventually
from workers.machine.metadata import Metadata, NotThere

FLAVOR = {"Metadata-Flavor": "Google"}
ACCOUNT = f"worker@{PROJECT}.iam.gserviceaccount.com"
TELL = "echo host=$GCE_METADATA_HOST; sleep 60"


def host_of(tenant: Renter, name: str) -> str:
    """Where the metadata server of a machine that runs TELL answers."""

    def told() -> str:
        output = tenant.instances.get_serial_port_output(project=PROJECT, zone=ZONE, instance=name).contents
        return output.partition("host=")[2].partition("\n")[0]

    return eventually("the machine tells where its metadata is", told, 20)


@pytest.fixture
def ask(tenant: Renter) -> Callable[..., requests.Response]:
    """Call it with a path below `/computeMetadata/v1/` of machine vm-1."""
    tenant.rent("vm-1", script=TELL, metadata={"spotlift-model": "fast"}, account=ACCOUNT)
    host = host_of(tenant, "vm-1")
    assert host.startswith("127.88.")

    def get(path: str, headers: dict[str, str] = FLAVOR, **query: Any) -> requests.Response:
        return requests.get(
            f"http://{host}/computeMetadata/v1/{path}", headers=headers, params=query, timeout=30, allow_redirects=False
        )

    get.host = host  # type: ignore[attr-defined]
    return get


def test_values_and_directories(ask: Callable[..., requests.Response], tenant: Renter):
    assert ask("instance/name").text == "vm-1"
    assert ask("instance/id").text == str(tenant.get("vm-1").id)
    assert ask("instance/zone").text.endswith(f"/zones/{ZONE}")
    assert ask("instance/machine-type").text.endswith("/machineTypes/g2-standard-4")
    assert ask("instance/hostname").text == f"vm-1.{ZONE}.c.{PROJECT}.internal"
    assert ask("instance/scheduling/preemptible").text == "TRUE"
    assert ask("instance/preempted").text == "FALSE"
    assert ask("instance/attributes/spotlift-model").text == "fast"
    assert ask("instance/attributes/").text.split() == ["spotlift-model", "startup-script"]
    assert ask("instance/service-accounts/").text.split() == ["default/", f"{ACCOUNT}/"]
    assert ask("instance/service-accounts/default/email").text == ACCOUNT
    assert ask("instance/service-accounts/default/token").json()["token_type"] == "Bearer"
    assert ask("instance/network-interfaces/0/ip").text == tenant.get("vm-1").network_interfaces[0].network_i_p
    assert ask("project/project-id").text == PROJECT
    assert ask("project/numeric-project-id").text.isdecimal()
    assert ask("").text.split() == ["instance/", "project/"]
    assert ask("instance").headers["Location"] == "/computeMetadata/v1/instance/"
    assert ask("instance/nothing").status_code == 404


def test_everything_at_once(ask: Callable[..., requests.Response]):
    told = ask("", recursive="true", alt="json").json()
    assert told["instance"]["machineType"].endswith("g2-standard-4")
    assert told["instance"]["serviceAccounts"]["default"]["email"] == ACCOUNT
    assert told["instance"]["attributes"]["spotlift-model"] == "fast"
    assert told["project"]["projectId"] == PROJECT
    assert "scheduling/preemptible TRUE" in ask("instance/", recursive="true", alt="text").text.splitlines()


def test_the_flavor_is_asked_for_and_said(ask: Callable[..., requests.Response]):
    assert ask("instance/name", {}).status_code == 403
    assert ask("instance/name", {**FLAVOR, "X-Forwarded-For": "10.0.0.1"}).status_code == 403
    assert ask("instance/name").headers["Metadata-Flavor"] == "Google"


def test_waiting_for_a_preemption_ends_with_its_notice(ask: Callable[..., requests.Response], host: str):
    first = ask("instance/preempted", wait_for_change="true", last_etag="0")
    assert first.text == "FALSE"  # "0" is no etag that it ever had
    began = time.monotonic()
    unchanged = ask("instance/preempted", wait_for_change="true", last_etag=first.headers["ETag"], timeout_sec=1)
    assert unchanged.text == "FALSE"
    assert time.monotonic() - began > 0.9
    notice = threading.Timer(0.3, Remote(host).preempt, ["vm-1", 30.0])
    notice.start()
    changed = ask("instance/preempted", wait_for_change="true", last_etag=first.headers["ETag"], timeout_sec=20)
    assert changed.text == "TRUE"
    assert changed.headers["ETag"] != first.headers["ETag"]
    assert time.monotonic() - began < 10
    notice.join()


def test_our_own_machines_understand_it(ask: Callable[..., requests.Response]):
    metadata = Metadata(ask.host)  # type: ignore[attr-defined]
    assert metadata.name() == "vm-1"
    assert metadata.attribute("spotlift-model") == "fast"
    with pytest.raises(NotThere):
        metadata.attribute("spotlift-nothing")
    assert metadata.wait_for_change("instance/preempted")[0] == "FALSE"


def test_an_identity_is_verified_as_googles_is(ask: Callable[..., requests.Response], tenant: Renter, host: str):
    path = "instance/service-accounts/default/identity"
    token = ask(path, audience="spotlift-life-7", format="full").text
    request = google.auth.transport.requests.Request()
    certificates = f"{host}/oauth2/v1/certs"
    claims = id_token.verify_token(token, request, "spotlift-life-7", certificates)
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["email"] == ACCOUNT
    engine = claims["google"]["compute_engine"]
    assert (engine["instance_name"], engine["zone"], engine["project_id"]) == ("vm-1", ZONE, PROJECT)
    assert engine["instance_id"] == str(tenant.get("vm-1").id)
    with pytest.raises(Exception, match="audience"):
        id_token.verify_token(token, request, "another", certificates)
    with pytest.raises(Exception, match="signature"):
        id_token.verify_token(f"{token[:-8]}AAAAAAAA", request, "spotlift-life-7", certificates)
    assert "google" not in id_token.verify_token(ask(path, audience="a").text, request, "a", certificates)


def test_a_machine_without_an_account_has_no_identity(tenant: Renter):
    tenant.rent("vm-2", script=TELL)
    base = f"http://{host_of(tenant, 'vm-2')}/computeMetadata/v1/instance/service-accounts"
    asked = f"{base}/default/identity?audience=a&format=full"
    assert requests.get(asked, headers=FLAVOR, timeout=10).status_code == 404
    assert requests.get(f"{base}/default/token", headers=FLAVOR, timeout=10).status_code == 404


def test_each_machine_has_its_own(tenant: Renter):
    hosts = {}
    for name in ("vm-1", "vm-2"):
        tenant.rent(name, script=TELL)
        hosts[name] = host_of(tenant, name)
    assert len({host.partition(":")[0] for host in hosts.values()}) == 2
    for name, host in hosts.items():
        answer = requests.get(f"http://{host}/computeMetadata/v1/instance/name?alt=json", headers=FLAVOR, timeout=10)
        assert json.loads(answer.text) == name
