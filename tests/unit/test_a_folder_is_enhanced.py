"""A folder is worked off here and now: what is done is skipped, no image stops the others."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.folder import Ended, enhance_all, pairs
from workers.rejects import RejectReason


class Twice:
    """Repeats each pixel, and breaks when it meets a certain colour."""

    scale = 2
    halo = 1
    name = "twice"

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        if (tiles == 1.0).all():
            raise RuntimeError("the network has a fault")
        return tiles.repeat(2, axis=1).repeat(2, axis=2)


def picture(path: Path, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (grey, grey, grey)).save(path)
    return path


def enhanced(source: Path, out: Path) -> dict[str, Ended]:
    todo = [pair for pair in pairs(source, out) if not pair.is_done()]
    return {ended.pair.name: ended for ended in enhance_all(todo, Twice())}


def test_images_at_any_depth_get_their_own_place(tmp_path: Path):
    picture(tmp_path / "in" / "b.png")
    picture(tmp_path / "in" / "a" / "deep" / "c.png")
    picture(tmp_path / "in" / ".hidden" / "d.png")
    picture(tmp_path / "in" / ".e.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    found = pairs(tmp_path / "in", tmp_path / "out")
    assert [(pair.name, pair.target) for pair in found] == [
        ("a/deep/c.png", tmp_path / "out" / "a" / "deep" / "c.png"),
        ("b.png", tmp_path / "out" / "b.png"),
    ]


def test_results_inside_the_source_are_not_enhanced_again(tmp_path: Path):
    picture(tmp_path / "a.png")
    for _ in range(2):
        enhanced(tmp_path, tmp_path / "larger")
    assert [pair.name for pair in pairs(tmp_path, tmp_path / "larger")] == ["a.png"]


def test_what_is_done_and_not_older_is_skipped(tmp_path: Path):
    source = picture(tmp_path / "in" / "a.png")
    assert set(enhanced(tmp_path / "in", tmp_path / "out")) == {"a.png"}
    assert enhanced(tmp_path / "in", tmp_path / "out") == {}
    later = (tmp_path / "out" / "a.png").stat().st_mtime + 1
    os.utime(source, (later, later))
    assert set(enhanced(tmp_path / "in", tmp_path / "out")) == {"a.png"}


def test_neither_a_broken_image_nor_a_fault_of_ours_stops_the_others(tmp_path: Path):
    picture(tmp_path / "in" / "good.png")
    picture(tmp_path / "in" / "strange.png", grey=255)
    (tmp_path / "in" / "empty.png").touch()
    ended = enhanced(tmp_path / "in", tmp_path / "out")
    assert ended["good.png"].enhanced is not None
    reasons = {name: one.rejected.reason for name, one in ended.items() if one.rejected}
    assert reasons == {"strange.png": RejectReason.UNEXPECTED, "empty.png": RejectReason.EMPTY}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_place_that_cannot_be_written_ends_it(tmp_path: Path):
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "out").write_text("a file where a folder must be")
    with pytest.raises(OSError, match="out"):
        enhanced(tmp_path / "in", tmp_path / "out")


def test_who_stops_looking_stops_the_work_and_leaves_nothing_half_done(tmp_path: Path):
    for number in range(20):
        picture(tmp_path / "in" / f"{number:02d}.png")
    going = enhance_all(pairs(tmp_path / "in", tmp_path / "out"), Twice())
    next(going)
    going.close()
    done = list((tmp_path / "out").iterdir())
    assert 1 <= len(done) < 20
    assert all(path.suffix == ".png" and not path.name.startswith(".") for path in done)
