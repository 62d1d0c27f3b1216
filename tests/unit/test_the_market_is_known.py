"""What a life of the pool rents, where, and at what price."""

from typing import Any

import pytest

from infra.machines.errors import CloudUnreachable
from infra.machines.spec import LONGEST_NOTICE, Gpu, MachineSpec
from infra.pool.market import market_of, spec_of
from infra.pool.plan import PoolPlan
from infra.settings import Settings


class Offers:
    """A cloud that offers such machines in one zone, or does not answer."""

    def __init__(self, zone: str, answers: bool = True) -> None:
        self.zone, self.answers = zone, answers

    def zones_with(self, spec: MachineSpec) -> tuple[str, ...]:  # noqa: ARG002 - as the market asks
        if not self.answers:
            raise CloudUnreachable("No answer.")
        return (self.zone,)

    def gpus_of(self, machine_type: str, zone: str) -> Gpu | None:  # noqa: ARG002 - as the market asks
        return Gpu("nvidia-l4")


@pytest.fixture
def ask(tmp_path: Any) -> Any:
    settings = Settings(state=tmp_path, zones="us-central1-a,us-east4-a")
    said: list[str] = []
    return lambda cloud: (market_of(settings, PoolPlan.of(settings), cloud, said.append), said)


def test_zones_that_do_not_offer_such_a_machine_are_passed_over(ask: Any):
    market, said = ask(Offers("us-east4-a"))
    assert [zone.name for zone in market.zones] == ["us-east4-a"]
    assert market.gpu == Gpu("nvidia-l4")
    assert market.unknown is None
    assert said == ["us-central1-a do not offer g2-standard-4, and are passed over"]


def test_a_cloud_that_does_not_answer_leaves_no_zone_rather_than_a_machine_without_its_gpu(ask: Any):
    market, _ = ask(Offers("us-east4-a", answers=False))
    assert market.zones == ()
    assert str(market.unknown) == "No answer."


def test_spot_machines_are_ordered_with_notice_unless_somebody_says_otherwise(tmp_path: Any):
    settings = Settings(state=tmp_path)
    assert spec_of(settings, PoolPlan.of(settings)).notice == LONGEST_NOTICE
    for silent in (settings.model_copy(update={"notice": False}), settings.model_copy(update={"spot": False})):
        assert spec_of(silent, PoolPlan.of(silent)).notice is None
