"""The bench of quality writes its tables and drawings, and measures what is there."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.bench import quality_pages, quality_plot
from tests.bench.quality_peers import Contender, Kind, LeftOut, contenders
from tests.bench.quality_run import SETS, Result, Score
from workers import runtime


def a_result(name: str, kind: Kind, psnr: float, speed: float = 5.0, scale: int = 2) -> Result:
    scores = {each: Score(psnr, 0.9) for each in SETS}
    return Result(name, kind, scale, False, "float32", speed, 0.4, 123.4, scores, scores if scale == 2 else {})


ABSENT = Result("FSRCNN", Kind.NET, 2, False, left_out="there is no FSRCNN_x2.pb in models")


def the_contender(key: str, opencv_models: Path | None = None) -> Contender:
    [found] = [each for each in contenders(opencv_models=opencv_models) if each.key == key]
    return found


def test_a_table_goes_from_the_weakest_to_the_strongest_and_shows_which_is_ours() -> None:
    results = [a_result("Spotlift fast", Kind.OURS, 37.5), a_result("bicubic", Kind.FILTER, 33.6), ABSENT]
    clean, compressed = quality_pages.pages(results)
    assert [cells[0] for cells in clean.cells()] == ["bicubic", "Spotlift fast"]
    assert clean.cells()[0][1:] == ("33.60 / 0.9000",) * 3 + ("5", "0.4", "123", "float32")
    assert "| **Spotlift fast** | 37.50 / 0.9000 |" in clean.markdown()
    assert "quality 75" in compressed.title


def test_a_scale_at_which_we_ship_nothing_has_no_table() -> None:
    results = [a_result("Spotlift fast", Kind.OURS, 37.5), a_result("bicubic", Kind.FILTER, 28.4, scale=4)]
    clean, compressed = quality_pages.pages(results)
    assert clean.title == "×2"
    assert "JPEG" in compressed.title


def test_who_is_left_out_is_told_with_the_reason() -> None:
    assert quality_pages.absent([ABSENT]) == ["FSRCNN ×2 is left out: there is no FSRCNN_x2.pb in models."]


def test_what_was_measured_replaces_what_was_measured_before() -> None:
    page = f"# Title\n{quality_pages.BEGIN}\nold\n{quality_pages.END}\nthe rest\n"
    once = quality_pages.inserted(page, "first")
    again = quality_pages.inserted(once, "second")
    assert "old" not in once
    assert "first" not in again
    assert again.startswith("# Title\n")
    assert again.endswith("\nthe rest\n")
    assert again == quality_pages.inserted(again, "second")


def test_a_page_without_a_place_is_left_alone() -> None:
    with pytest.raises(quality_pages.NoPlace, match="no place for the tables"):
        quality_pages.inserted("# Title\n", "measured")


def test_the_drawing_has_better_ones_higher_faster_ones_further_right_and_all_names() -> None:
    ours, filter_ = a_result("Spotlift fast", Kind.OURS, 37.5, 4.0), a_result("bi<cubic", Kind.FILTER, 33.6, 80.0)
    drawn = ElementTree.fromstring(quality_plot.drawing([ours, filter_, ABSENT], 2, sets=("Set5",)))
    texts = ["".join(each.itertext()) for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Spotlift fast", "bi<cubic", "luma PSNR in dB", "Set5"} <= set(texts)
    panel = quality_plot._panel("Set5", 0, [ours, filter_])
    assert panel.y(37.5) < panel.y(33.6)
    assert panel.x(4.0) < panel.x(80.0)


def test_no_two_names_lie_on_each_other() -> None:
    crowd = [a_result(f"upscaler number {n}", Kind.NET, 35 + n / 50, 5 + n / 50) for n in range(6)]
    svg = quality_plot.drawing(crowd, 2, sets=("Set5",))
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" fill="#D55E00">upscaler', svg)
    lines = sorted((float(y), float(x)) for x, y in places)
    assert len(lines) == 6
    for (y, x), (below, beside) in pairwise(lines):
        assert below - y >= quality_plot.TEXT or abs(beside - x) >= 100


def test_results_travel_from_the_process_that_measured(tmp_path: Path) -> None:
    for result in (a_result("Spotlift fast", Kind.OURS, 37.5), ABSENT):
        result.write(tmp_path / "result.json")
        assert Result.read(tmp_path / "result.json") == result


def test_a_filter_of_everybody_doubles_a_picture() -> None:
    way = the_contender("bicubic (Pillow) ×2").make()
    grey = np.full((6, 8, 3), 77, np.uint8)
    np.testing.assert_array_equal(way.leave(way.enlarge(way.enter(grey))), np.full((12, 16, 3), 77, np.uint8))


def test_our_own_are_whatever_lies_among_the_weights(tmp_path: Path) -> None:
    for name in ("tiny-x2.keras", "fast-jpeg-x4.keras", "fast-x4.md", "notes.keras"):
        (tmp_path / name).touch()
    ours = {each.key: each.for_jpeg for each in contenders(tmp_path) if each.kind is Kind.OURS}
    assert ours == {"Spotlift tiny ×2": False, "Spotlift fast-jpeg ×4": True}
    assert any(each.scale == 4 for each in contenders(tmp_path) if each.kind is Kind.FILTER)


def test_our_own_are_called_as_the_product_calls_them() -> None:
    way = the_contender("Spotlift fast ×2").make()
    grey = np.full((32, 40, 3), 77, np.uint8)
    enlarged = way.leave(way.enlarge(way.enter(grey)))
    assert enlarged.shape == (64, 80, 3)
    assert np.abs(enlarged[8:-8, 8:-8].astype(int) - 77).max() <= 2


def test_networks_for_opencv_are_taken_from_the_folder_that_is_given(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not here; `make bench-peers` installs it")
    tf = runtime.tensorflow()
    with tf.Graph().as_default() as graph:  # four times the pixel itself: a network that repeats pixels
        luma = tf.compat.v1.placeholder(tf.float32, (None, None, None, 1), name="luma")
        middle = np.zeros((3, 3, 1, 4), np.float32)
        middle[1, 1] = 1
        tf.nn.depth_to_space(tf.nn.conv2d(luma, tf.constant(middle), 1, "SAME"), 2, name="enlarged")
    (tmp_path / "ESPCN_x2.pb").write_bytes(graph.as_graph_def().SerializeToString())

    way = the_contender("ESPCN (OpenCV) ×2", tmp_path).make()
    grey = np.repeat(np.random.default_rng(3).integers(0, 256, (12, 16, 1), np.uint8), 3, axis=2)
    enlarged = way.leave(way.enlarge(way.enter(grey)))
    np.testing.assert_array_equal(enlarged, grey.repeat(2, axis=0).repeat(2, axis=1))

    with pytest.raises(LeftOut, match=r"no FSRCNN_x2\.pb"):
        the_contender("FSRCNN (OpenCV) ×2", tmp_path).make()
    with pytest.raises(LeftOut, match="--opencv-models"):
        the_contender("FSRCNN (OpenCV) ×2").make()


@pytest.mark.parametrize("name", ["Anime4KCPP ARNet", "waifu2x upconv7", "waifu2x cunet"])
def test_a_net_from_the_package_index_doubles_a_picture(name: str) -> None:
    try:
        way = the_contender(f"{name} ×2").make()
    except LeftOut as why:
        pytest.skip(str(why))
    rows, columns = np.mgrid[0:31, 0:45]
    ramp = np.stack([rows * 4, columns * 3, rows + columns], axis=2).astype(np.uint8)
    enlarged = way.leave(way.enlarge(way.enter(ramp)))
    assert enlarged.shape == (62, 90, 3)
    repeated = ramp.repeat(2, axis=0).repeat(2, axis=1).astype(int)
    assert np.abs(enlarged[4:-4, 4:-4] - repeated[4:-4, 4:-4]).mean() < 4  # also: red is red, and not blue
