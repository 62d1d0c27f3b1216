"""What a machine costs follows from one file, by rules that are written in it."""

from pathlib import Path

import pytest

from infra.machines.prices import Price, Prices, PricesError, price_of, read_prices
from infra.machines.spec import Gpu

SHARED = Path(__file__).parents[3] / "shared" / "data" / "prices_us.csv"
NAMES = {
    "T4": "nvidia-tesla-t4",
    "L4": "nvidia-l4",
    "A100-40": "nvidia-tesla-a100",
    "H100": "nvidia-h100-80gb",
    "H200": "nvidia-h200-141gb",
    "n1-standard-4 host": "n1-standard-4",
}
T4 = Gpu("nvidia-tesla-t4")
L4 = Gpu("nvidia-l4")


@pytest.fixture(scope="module")
def prices() -> Prices:
    return read_prices()


@pytest.mark.parametrize(
    ("machine_type", "gpu", "zone", "spot", "on_demand", "estimated"),
    [
        pytest.param("n1-standard-4", T4, "us-central1-a", 0.0638 + 0.1915, 0.19 + 0.35, False, id="host and GPU"),
        pytest.param("n1-standard-4", None, "us-east4-c", 0.0498, 0.214, False, id="a host alone"),
        pytest.param("n1-standard-8", None, "us-east4-c", 0.0996, 0.428, False, id="twice the size, twice the price"),
        pytest.param("n1-standard-2", None, "us-east4-c", 0.0249, 0.107, False, id="half the size, half the price"),
        pytest.param(
            "g2-standard-24", Gpu("nvidia-l4", 2), "us-east4-a", 0.387 + 0.4922, 0.87786 + 1.11642, False, id="two GPUs"
        ),
        pytest.param("n1-standard-4", T4, "me-west1-b", 0.0638 + 0.1022, 0.214 + 0.385, True, id="dearest known host"),
        pytest.param("g2-standard-4", L4, "us-west4-a", 0.09146 + 0.2862, 0.16533 + 0.7192, True, id="dearest GPU"),
        pytest.param("n1-standard-4", T4, "africa-south1-a", 0.0638 + 0.1915, 0.214 + 0.385, True, id="nothing known"),
        pytest.param(
            "a3-highgpu-1g",
            Gpu("nvidia-h100-80gb"),
            "us-central1-a",
            0.64454 + 5.3387,
            1.18251 + 9.7966,
            True,
            id="the catalogue's wrong row is not believed",
        ),
        pytest.param("a3-highgpu-8g", Gpu("nvidia-h100-80gb", 8), "us-east4-a", 34.16, 87.8329, False, id="unit g"),
    ],
)
def test_a_machine_costs_what_its_parts_cost(prices, machine_type, gpu, zone, spot, on_demand, estimated):
    price = price_of(machine_type, gpu, zone, prices)
    assert price == Price(pytest.approx(spot), pytest.approx(on_demand), estimated)


@pytest.mark.parametrize(
    ("machine_type", "gpu"),
    [
        pytest.param("z9-standard-4", None, id="a series that nobody knows"),
        pytest.param("n1-highmem-4", T4, id="another series of the same family"),
        pytest.param("n1-standard-4", Gpu("nvidia-tesla-k80"), id="a GPU that nobody knows"),
        pytest.param("g2-standard-4", None, id="a host that never comes without GPUs"),
        pytest.param("a2-highgpu-2", Gpu("nvidia-tesla-a100", 2), id="a size in another unit"),
        pytest.param("custom", None, id="a type without a size"),
    ],
)
def test_a_price_that_is_not_known_is_not_made_up(prices, machine_type, gpu):
    assert price_of(machine_type, gpu, "us-central1-a", prices) is None


def test_an_estimate_is_never_cheaper_than_any_listed_region(prices):
    for kinds in (prices.gpus, prices.hosts):
        for kind in kinds.values():
            estimate = kind.in_region("nowhere1")
            assert all((listed.spot or 0) <= estimate.spot for listed in kind.regions.values())
            assert all((listed.on_demand or 0) <= estimate.on_demand for listed in kind.regions.values())


def test_the_file_says_where_its_figures_come_from(prices):
    assert "2c3d7ea7" in prices.source
    assert "2026" in prices.as_of


def test_the_file_agrees_with_its_source(prices):
    if not SHARED.exists():
        pytest.skip("there is no folder shared/ beside the checkout")
    kinds = {**prices.gpus, **prices.hosts}
    rows = [line.split(",") for line in SHARED.read_text().splitlines() if not line.startswith(("#", "gpu,"))]
    assert len(rows) > 15
    for name, region, on_demand, spot, *_ in rows:
        listed = kinds[NAMES[name]].regions[region]
        assert listed.spot == float(spot), (name, region)
        assert listed.on_demand == (float(on_demand) if on_demand and "(" not in on_demand else None), (name, region)


HEAD = 'source = "me"\nas_of = "2026-11-25"\ncurrency = "USD"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[gpus", "cannot be read", id="no TOML"),
        pytest.param(b"\xff\xfe", "cannot be read", id="no text"),
        pytest.param("", "source: Field required", id="empty"),
        pytest.param(HEAD + "[gpu.x]\n", "gpu: Extra inputs are not permitted", id="a word that is not known"),
        pytest.param(HEAD.replace("USD", "EUR"), "currency: String should match pattern", id="another currency"),
        pytest.param(
            HEAD + "[gpus.x.regions]\na1 = { spot = -1, on_demand = 2 }",
            "gpus.x.regions.a1.spot: Input should be greater than 0",
            id="less than nothing",
        ),
        pytest.param(
            HEAD + "[gpus.x.regions]\na1 = { spot = nan, on_demand = 2 }",
            "gpus.x.regions.a1.spot: Input should be",
            id="no number",
        ),
        pytest.param(
            HEAD + "[gpus.x.regions]\na1 = { spot = 3, on_demand = 2 }",
            "gpus.x.regions.a1: spot costs more than on demand",
            id="columns swapped",
        ),
        pytest.param(
            HEAD + "[hosts.x.regions]\na1 = { spot = 1 }",
            "hosts.x: no region has a price for on_demand",
            id="nothing to estimate from",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text, said):
    file = tmp_path / "prices.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PricesError) as refused:
        read_prices(file)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(PricesError, match="cannot be read"):
        read_prices(tmp_path / "none.toml")


def test_a_file_of_ones_own_is_used(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text(HEAD + "[hosts.n1-standard-1.regions]\nus-central1 = { spot = 1, on_demand = 2 }")
    assert price_of("n1-standard-4", None, "us-central1-a", read_prices(file)) == Price(4, 8, estimated=False)
