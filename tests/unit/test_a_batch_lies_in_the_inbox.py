"""What the watcher sees in the inbox, and when it may take it."""

import os
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.arrivals import Arrival, ArrivalError, ArrivalReason, find, is_ready, look, strays, sweep
from infra.states import SourceKind

QUIET = timedelta(seconds=3)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def put(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"pixels" * 100)
    return path


def only(inbox: Path) -> Arrival:
    (arrival,) = look(inbox)
    return arrival


def test_an_inbox_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert look(tmp_path / "inbox") == []
    assert strays(tmp_path / "inbox") == []


def test_folders_and_zips_are_batches_named_after_them(inbox: Path) -> None:
    put(inbox / "photos" / "2026" / "cat.png")
    put_zip(inbox / "drawings.ZIP", "cat.png")
    drawings, photos = look(inbox)
    assert (photos.name, photos.source, photos.kind, photos.files, photos.bytes) == (
        "photos", "photos", SourceKind.FOLDER, 1, 6
    )  # fmt: skip
    assert (drawings.name, drawings.source, drawings.kind) == ("drawings", "drawings.ZIP", SourceKind.ZIP)
    assert photos.path == inbox / "photos"


def test_a_folder_whose_name_ends_in_zip_keeps_it(inbox: Path) -> None:
    put(inbox / "old.zip" / "cat.png")
    assert (only(inbox).name, only(inbox).kind) == ("old.zip", SourceKind.FOLDER)


@pytest.mark.parametrize(
    "name",
    [".hidden", ".photos.zip.x7a", "photos.zip.part", "photos.zip.crdownload", "photos.tmp", "photos~"],
)
def test_hidden_and_unfinished_names_are_no_arrivals(inbox: Path, name: str) -> None:
    put(inbox / name)
    assert look(inbox) == []
    assert strays(inbox) == []
    (inbox / name).unlink()
    put(inbox / name / "cat.png")
    assert look(inbox) == []


def test_files_beside_the_batches_are_strays(inbox: Path) -> None:
    put(inbox / "cat.png")
    put(inbox / "photos" / "cat.png")
    assert strays(inbox) == ["cat.png"]
    assert [arrival.source for arrival in look(inbox)] == ["photos"]


def test_what_was_taken_is_not_looked_into_again(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    put_zip(inbox / "drawings.zip", "cat.png")
    assert [arrival.source for arrival in look(inbox, skip={"photos"})] == ["drawings.zip"]


def test_a_folder_is_ready_when_nothing_has_changed_for_a_while(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    photos = only(inbox)
    assert not is_ready(photos, photos.changed_at + QUIET - INSTANT, QUIET)
    assert is_ready(photos, photos.changed_at + QUIET, QUIET)


def test_a_marked_folder_is_ready_at_once(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    put(inbox / "photos" / "_READY", b"")
    photos = only(inbox)
    assert photos.marked_ready
    assert is_ready(photos, photos.changed_at, QUIET)


def test_a_mark_further_down_says_nothing(inbox: Path) -> None:
    put(inbox / "photos" / "2026" / "_READY", b"")
    assert not only(inbox).marked_ready


def test_an_empty_folder_is_never_ready(inbox: Path) -> None:
    (inbox / "photos" / "deeper").mkdir(parents=True)
    put(inbox / "photos" / ".DS_Store")
    photos = only(inbox)
    assert not is_ready(photos, photos.changed_at + timedelta(days=1), QUIET)


def test_copying_with_old_times_is_still_a_change(inbox: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    cat = put(inbox / "photos" / "cat.png")
    os.utime(cat, (0, 0))
    os.utime(inbox / "photos", (0, 0))
    assert only(inbox).changed_at > before


def test_a_file_that_is_still_downloading_holds_the_folder_up_but_not_for_ever(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    put(inbox / "photos" / "dog.png.crdownload")
    photos = only(inbox)
    assert not is_ready(photos, photos.changed_at + QUIET, QUIET)
    assert is_ready(photos, photos.changed_at + timedelta(minutes=10), QUIET)


def test_a_hidden_file_that_grows_is_a_change(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    before = only(inbox)
    part = put(inbox / "photos" / ".dog.png.Xa81b")
    with part.open("ab") as file:
        file.write(b"more")
    after = only(inbox)
    assert after.changed_at > before.changed_at
    assert after.fingerprint == before.fingerprint, "it is no content yet"


def test_a_whole_zip_is_ready_after_a_second(inbox: Path) -> None:
    put_zip(inbox / "photos.zip", "cat.png")
    photos = only(inbox)
    assert photos.whole
    assert not is_ready(photos, photos.changed_at + timedelta(seconds=1) - INSTANT, QUIET)
    assert is_ready(photos, photos.changed_at + timedelta(seconds=1), QUIET)


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_zip_that_is_cut_short_is_waited_for_and_then_refused(inbox: Path, kept: int) -> None:
    path = put_zip(inbox / "photos.zip", "cat.png", "dog.png")
    path.write_bytes(path.read_bytes()[:kept])
    photos = only(inbox)
    assert not photos.whole
    assert not is_ready(photos, photos.changed_at + timedelta(minutes=10) - INSTANT, QUIET)
    assert is_ready(photos, photos.changed_at + timedelta(minutes=10), QUIET)


def test_a_zip_with_a_comment_is_whole(inbox: Path) -> None:
    with zipfile.ZipFile(inbox / "photos.zip", "w") as archive:
        archive.writestr("cat.png", b"pixels")
        archive.comment = b"from grandma " * 1000
    assert only(inbox).whole


def test_the_fingerprint_is_that_of_the_contents(inbox: Path) -> None:
    cat = put(inbox / "photos" / "cat.png")
    first = only(inbox).fingerprint
    put(inbox / "photos" / "_READY", b"")
    put(inbox / "photos" / ".DS_Store", b"")
    assert only(inbox).fingerprint == first, "neither the mark nor a hidden file is content"
    os.utime(cat, (1, 1))
    second = only(inbox).fingerprint
    cat.rename(cat.with_name("dog.png"))
    third = only(inbox).fingerprint
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("name", ["photos", "Fotos 2026", "übung.v2", "写真", "a_b-c", "photos (1)", "x" * 100])
def test_names_that_people_give_are_good(inbox: Path, name: str) -> None:
    put(inbox / name / "cat.png")
    assert only(inbox).name == name
    only(inbox).check()


@pytest.mark.parametrize(
    "name",
    ["a;rm -rf", "<script>", "a\nb", "a\x1b[31m", "x" * 101, " a", "a ", "50%", "a\\b", "a'b", "写" * 80],
)
def test_a_bad_name_is_refused_under_a_printable_one(inbox: Path, name: str) -> None:
    put(inbox / name / "cat.png")
    arrival = only(inbox)
    with pytest.raises(ArrivalError, match="cannot be the name of a batch") as refused:
        arrival.check()
    assert refused.value.reason is ArrivalReason.BAD_NAME
    assert arrival.name.isprintable()
    assert arrival.source == name
    assert is_ready(arrival, arrival.changed_at + QUIET, QUIET), "or nobody would ever hear of it"
    (inbox / name).rename(inbox / arrival.name)
    only(inbox).check()


def test_two_bad_names_do_not_share_a_printable_one(inbox: Path) -> None:
    put(inbox / "50%" / "cat.png")
    put(inbox / "50&" / "cat.png")
    assert len({arrival.name for arrival in look(inbox)}) == 2


@pytest.mark.parametrize("name", ["photos", "photos.zip"])
def test_a_link_is_no_batch(inbox: Path, tmp_path: Path, name: str) -> None:
    put(tmp_path / "elsewhere" / "cat.png")
    put_zip(tmp_path / "elsewhere.zip", "cat.png")
    (inbox / name).symlink_to(tmp_path / name.replace("photos", "elsewhere"))
    arrival = only(inbox)
    assert arrival.files == 0
    with pytest.raises(ArrivalError, match="link") as refused:
        arrival.check()
    assert refused.value.reason is ArrivalReason.LINK


def test_links_in_a_folder_are_not_followed(inbox: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "secret.png")
    put(inbox / "photos" / "cat.png")
    (inbox / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (inbox / "photos" / "loop").symlink_to(inbox / "photos")
    assert only(inbox).files == 1


def test_a_folder_deeper_than_python_recurses_is_seen(inbox: Path) -> None:
    here = os.open(inbox, os.O_RDONLY)
    try:
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
    finally:
        os.close(here)
    try:
        assert only(inbox).files == 0
    finally:
        subprocess.run(["rm", "-rf", inbox], check=True)  # shutil recurses, and pytest cleans up with it


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_read_is_refused(inbox: Path) -> None:
    put(inbox / "photos" / "private" / "cat.png")
    (inbox / "photos" / "private").chmod(0)
    with pytest.raises(ArrivalError, match="permission denied") as refused:
        only(inbox).check()
    (inbox / "photos" / "private").chmod(0o700)
    assert refused.value.reason is ArrivalReason.UNREADABLE


def test_a_name_that_is_no_text_is_a_stray(inbox: Path) -> None:
    (inbox / os.fsdecode(b"caf\xe9")).mkdir()
    assert look(inbox) == []
    assert strays(inbox) == ["caf\N{REPLACEMENT CHARACTER}"]


def test_one_entry_can_be_looked_at_again(inbox: Path) -> None:
    put(inbox / "photos" / "cat.png")
    put_zip(inbox / "drawings.ZIP", "cat.png")
    assert [find(inbox, seen.source) for seen in look(inbox)] == look(inbox)
    before = find(inbox, "photos")
    put(inbox / "photos" / "dog.png")
    after = find(inbox, "photos")
    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    "source", ["photos", "", ".", "..", "../other", "deep/photos", ".hidden", "a.zip.part", "a.png"]
)
def test_what_is_no_entry_is_not_found(inbox: Path, tmp_path: Path, source: str) -> None:
    for place in (inbox / "a.zip.part", inbox / "a.png", inbox / ".hidden" / "a.png", tmp_path / "other" / "a.png"):
        put(place)
    put(inbox / "deep" / "photos" / "cat.png")
    assert find(inbox, source) is None
    assert find(tmp_path / "no inbox", source) is None


def test_what_a_killed_hand_in_left_is_swept_after_a_day(inbox: Path) -> None:
    put(inbox / ".spotlift-incoming-1234" / "batch" / "cat.png")
    put(inbox / "photos" / "cat.png")
    now = datetime.now(UTC)
    assert [arrival.source for arrival in look(inbox)] == ["photos"]
    assert sweep(inbox, now) == 0
    assert sweep(inbox, now + timedelta(days=2)) == 1
    assert [path.name for path in inbox.iterdir()] == ["photos"]
