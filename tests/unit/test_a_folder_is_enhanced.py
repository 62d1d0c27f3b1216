"""A folder is worked off here and now: what is done is skipped, no image stops the others."""

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.folder import Ended, enhance_all, pair, pairs, prepare
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
        prepare(tmp_path / "out")
    prepare(tmp_path / "new" / "out")
    assert (tmp_path / "new" / "out").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_may_not_be_written_or_looked_into_is_told(tmp_path: Path):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "locked" / "b.png")
    (tmp_path / "in" / "locked").chmod(0)
    (tmp_path / "out").mkdir(mode=0o500)
    try:
        with pytest.raises(PermissionError, match="out"):
            prepare(tmp_path / "out")
        todo = pairs(tmp_path / "in", tmp_path / "out")
        assert [pair.name for pair in todo] == ["a.png", "locked/"]
        ended = list(enhance_all(todo, Twice()))
        assert [one.rejected and one.rejected.reason for one in ended] == [RejectReason.NO_PERMISSION] * 2
    finally:
        (tmp_path / "in" / "locked").chmod(0o700)


def test_what_is_no_regular_file_is_rejected_without_being_opened(tmp_path: Path):
    source = tmp_path / "in"
    picture(source / "good.png")
    picture(tmp_path / "elsewhere.png")
    (source / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (source / "dangling.png").symlink_to(tmp_path / "nothing")
    (source / "circle.png").symlink_to(source / "circle.png")
    os.mkfifo(source / "pipe.png")
    ended = enhanced(source, tmp_path / "out")
    assert {name: one.rejected.reason for name, one in ended.items() if one.rejected} == {
        "circle.png": RejectReason.NO_PLACE,
        "dangling.png": RejectReason.MISSING,
        "pipe.png": RejectReason.NOT_AN_IMAGE,
    }
    assert all(one.rejected.message for one in ended.values() if one.rejected)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.png", "link.png"}


def test_what_has_the_place_of_a_result_stops_that_image_only(tmp_path: Path):
    for name in ("a.png", "b/deep.png", "c.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    (tmp_path / "out" / "b").write_text("a file where a folder must be")
    later = time.time() + 10
    os.utime(tmp_path / "out" / "a.png", (later, later))
    ended = enhanced(tmp_path / "in", tmp_path / "out")
    messages = {name: one.rejected.message for name, one in ended.items() if one.rejected}
    assert set(messages) == {"a.png", "b/deep.png"}
    assert messages["a.png"].startswith("a folder is in its place; move the folder away (")
    assert str(tmp_path / "out" / "b") in messages["b/deep.png"]
    assert (tmp_path / "out" / "c.png").is_file()


def test_a_name_that_is_too_long_stops_that_image_only(tmp_path: Path):
    picture(tmp_path / "in" / "a.png")
    long = tmp_path / "in" / ("ä" * 125 + ".jpg")
    picture(long)
    todo = [*pairs(tmp_path / "in", tmp_path / "out", "webp"), pair("b", long, tmp_path / "out" / ("b" * 300 + ".png"))]
    ended = {one.pair.name: one for one in enhance_all(todo, Twice())}
    assert {name for name, one in ended.items() if one.enhanced} == {"a.png", long.name}
    assert ended["b"].rejected is not None
    assert "shorten it" in ended["b"].rejected.message


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path):
    picture(tmp_path / "in" / "a.png")
    place = os.open(tmp_path / "in", os.O_RDONLY)
    for _ in range(17):  # a path of more than 4096 bytes, which no program can open
        os.mkdir("d" * 250, dir_fd=place)
        above, place = place, os.open("d" * 250, os.O_RDONLY, dir_fd=place)
        os.close(above)
    os.close(place)
    found = pairs(tmp_path / "in", tmp_path / "out")
    (told,) = [one for one in found if one.rejected]
    assert told.name.startswith("ddd")
    assert told.name.endswith("/")
    assert [one.name for one in found if not one.rejected] == ["a.png"]
    with pytest.raises(FileNotFoundError):
        pairs(tmp_path / "nowhere", tmp_path / "out")


def test_what_every_image_would_meet_stops_the_work(tmp_path: Path):
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png")
    todo = pairs(tmp_path / "in", tmp_path / "out")
    next(enhance_all(todo, Twice()))  # whatever opens files for itself has done so
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            list(enhance_all(todo, Twice()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_who_stops_looking_stops_the_work_and_leaves_nothing_half_done(tmp_path: Path):
    for number in range(20):
        picture(tmp_path / "in" / f"{number:02d}.png")
    going = enhance_all(pairs(tmp_path / "in", tmp_path / "out"), Twice())
    next(going)
    going.close()
    done = list((tmp_path / "out").iterdir())
    assert 1 <= len(done) < 20
    assert all(path.suffix == ".png" and not path.name.startswith(".") for path in done)
