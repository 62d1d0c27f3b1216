"""A VM knows nothing but its metadata when it wakes up, and is a member of the pool a moment later."""

import stat
from collections.abc import Callable

import pytest
from distributed import Client, KilledWorker

from infra.pool import dispatch
from tests.contract.machine import work
from tests.contract.machine.life import Life, free_port
from tests.waiting import eventually

pytestmark = pytest.mark.slow


def test_a_machine_joins_and_works_and_keeps_its_key_to_itself(life: Life, client: Client, vm: Callable):
    vm("worker")
    assert client.submit(work.name, 0, pure=False).result(timeout=20) == "worker"
    (listens_at,) = client.run(work.listens_at).values()
    assert sorted({*listens_at} - {"::"}) == ["0.0.0.0", "127.0.0.1"]
    assert listens_at.count("0.0.0.0") == 1  # the port that asks for a certificate, and no other
    (folder,) = life.folder.glob("spotlift-machine-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "machine.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in life.log("worker") + life.log("registrar")
    life.kill("worker", 15)
    assert life.exit_code("worker") == 0
    assert not folder.exists()


def test_a_machine_with_two_gpus_has_a_worker_on_each(client: Client, vm: Callable):
    vm("pair", workers=2, gpus="2")
    seen = client.run(work.name_and_gpu)
    assert sorted(seen.values()) == [("pair.0", "0"), ("pair.1", "1")]
    assert dispatch.machines_of(client) == {"pair"}


def test_a_worker_of_one_gpu_comes_back_while_the_others_go_on(life: Life, client: Client, vm: Callable):
    vm("twins", workers=2, gpus="2")
    first, second = (_address(client, f"twins.{gpu}") for gpu in range(2))
    lost = client.submit(work.die, None, workers=[first], pure=False, retries=0)
    with pytest.raises(KilledWorker):
        lost.result(timeout=20)
    again = eventually("the one that died is back", lambda: _address(client, "twins.0"))
    assert again != first

    dispatch.send_away(client, "twins.0")
    eventually("the one that was let go is back", lambda: _address(client, "twins.0") not in (None, first, again))
    assert _address(client, "twins.1") == second
    client.retire_workers(names=["twins.0", "twins.1"], close_workers=True)
    assert life.exit_code("twins") == 0  # nobody wants any of them


def test_a_worker_process_that_dies_is_started_again(client: Client, vm: Callable):
    vm("phoenix")
    future = client.submit(work.die, None, pure=False, retries=0)
    with pytest.raises(KilledWorker):
        future.result(timeout=20)
    assert client.submit(work.name, 0, pure=False).result(timeout=20) == "phoenix"


def test_a_machine_whose_workers_die_again_and_again_ends(new_life: Life):
    new_life.start_scheduler()
    new_life.start_registrar()
    new_life.boot(new_life.cloud("hopeless", model="no-such-model", idle_limit="120"))
    assert new_life.exit_code("hopeless", within=100) == 5
    assert "no-such-model" in new_life.log("hopeless")


def test_the_registrar_may_come_up_later_than_the_machine(new_life: Life):
    new_life.start_scheduler()
    port = free_port()
    new_life.registrar = f"https://127.0.0.1:{port}"
    new_life.boot(new_life.cloud("early"))
    eventually("it asks in vain", lambda: "no certificate yet" in new_life.log("early"))
    new_life.start_registrar(port)
    client = new_life.client()
    eventually("it joins", lambda: dispatch.machines_of(client) == {"early"})


def test_a_registrar_of_another_life_gets_no_token(life: Life, new_life: Life):
    new_life.scheduler, new_life.registrar = life.scheduler, life.registrar
    new_life.boot(new_life.cloud("stray", idle_limit="2"))
    assert new_life.exit_code("stray") == 4
    assert "CERTIFICATE_VERIFY_FAILED" in new_life.log("stray")


def _address(client: Client, worker: str) -> str | None:
    workers = client.scheduler_info(n_workers=-1)["workers"].items()
    return next((address for address, it in workers if it["name"] == worker), None)
