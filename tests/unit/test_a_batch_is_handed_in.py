"""What `spotlift submit` puts into the inbox, and what it refuses at once."""

import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.arrivals import (
    ArrivalError,
    ArrivalReason,
    Wish,
    WishError,
    find_wish,
    hand_in,
    is_ready,
    look,
    read_wish,
    survey,
)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    put(tmp_path / "photos" / "cat.png")
    put(tmp_path / "photos" / "2026" / "dog.png")
    put(tmp_path / "photos" / "notes.txt")
    put(tmp_path / "photos" / ".DS_Store")
    return tmp_path / "photos"


def put(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def zip_of(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_free(name: str) -> bool:
    """The ledger of these tests knows no batch."""
    return not name


def test_a_folder_arrives_complete_and_marked(inbox: Path, photos: Path) -> None:
    before = everything(photos)
    assert hand_in(photos, inbox, None, None, is_free) == "photos"
    (arrival,) = look(inbox)
    assert is_ready(arrival, arrival.changed_at, timedelta(hours=1))
    assert [image.name for image in survey(arrival.path).images] == ["2026/dog.png", "cat.png"]
    assert [ignored.name for ignored in survey(arrival.path).ignored] == ["notes.txt"]
    assert everything(photos) == before, "the source stays as it is"
    assert [path.name for path in inbox.iterdir()] == ["photos"], "nothing hidden is left"


def test_a_zip_arrives_as_it_is(inbox: Path, photos: Path) -> None:
    path = zip_of(photos)
    assert hand_in(path, inbox, None, None, is_free) == "photos"
    assert (inbox / "photos.zip").read_bytes() == path.read_bytes()
    (arrival,) = look(inbox)
    assert is_ready(arrival, datetime.now(UTC) + timedelta(seconds=1), timedelta(hours=1))


def test_a_single_image_is_a_batch_of_one(inbox: Path, photos: Path) -> None:
    assert hand_in(photos / "cat.png", inbox, None, None, is_free) == "cat"
    assert everything(inbox) == {"cat/cat.png": b"pixels", "cat/_READY": b""}


@pytest.mark.parametrize("kind", ["folder", "zip", "image"])
def test_a_wish_travels_with_the_batch(inbox: Path, photos: Path, kind: str) -> None:
    put(photos / "batch.toml", b"scale = 3")
    source = {"folder": photos, "zip": zip_of(photos), "image": photos / "cat.png"}[kind]
    wish = Wish(scale=4, note="from grandma")
    name = hand_in(source, inbox, None, wish, is_free)
    assert read_wish(*find_wish(inbox / name)) == wish
    assert (inbox / name / "cat.png").exists()


def test_without_a_wish_the_batchs_own_holds(inbox: Path, photos: Path) -> None:
    put(photos / "batch.toml", b"scale = 3")
    hand_in(photos, inbox, None, None, is_free)
    assert read_wish(*find_wish(inbox / "photos")).scale == 3


def test_a_taken_name_gets_a_number(inbox: Path, photos: Path) -> None:
    path = zip_of(photos)
    assert hand_in(photos, inbox, None, None, is_free) == "photos"
    assert hand_in(path, inbox, None, None, is_free) == "photos-2"
    assert hand_in(photos, inbox, None, None, is_free) == "photos-3"
    assert hand_in(photos, inbox, "mine", None, {"mine", "mine-2"}.__contains__) == "mine-3"
    assert hand_in(photos, inbox, "x" * 100, None, {"x" * 100}.__contains__) == "x" * 98 + "-2"


@pytest.mark.parametrize("name", ["", ".hidden", "../photos", "a/b", "x" * 101])
def test_a_bad_name_is_refused(inbox: Path, photos: Path, name: str) -> None:
    with pytest.raises(ArrivalError) as refused:
        hand_in(photos, inbox, name, None, is_free)
    assert refused.value.reason is ArrivalReason.BAD_NAME
    assert not inbox.exists()


def test_links_are_never_followed(inbox: Path, photos: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret" / "key.png", b"secret")
    (photos / "key.png").symlink_to(tmp_path / "secret" / "key.png")
    (photos / "folder").symlink_to(tmp_path / "secret")
    hand_in(photos, inbox, None, None, is_free)
    assert [image.name for image in survey(inbox / "photos").images] == ["2026/dog.png", "cat.png"]
    assert [ignored.name for ignored in survey(inbox / "photos").ignored] == [
        "folder",
        "key.png",
        "notes.txt",
    ]
    assert (inbox / "photos" / "key.png").is_symlink()
    assert (inbox / "photos" / "folder").is_symlink()


def test_a_link_to_the_source_itself_is_what_the_person_meant(inbox: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "newest").symlink_to(photos)
    assert hand_in(tmp_path / "newest", inbox, None, None, is_free) == "photos"


def test_what_cannot_be_a_batch_is_refused_before_anything_is_copied(inbox: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    wrong = put(tmp_path / "wrong" / "cat.png").parent
    put(wrong / "batch.toml", b"scal = 3")
    for source, reason in (
        (empty, ArrivalReason.EMPTY),
        (tmp_path / "texts.zip", ArrivalReason.EMPTY),
        (put(tmp_path / "notes.txt"), ArrivalReason.EMPTY),
        (put(tmp_path / "torn.zip"), ArrivalReason.DAMAGED),
        (tmp_path / "nothing", ArrivalReason.UNREADABLE),
        (wrong, ArrivalReason.BAD_WISH),
    ):
        with pytest.raises(ArrivalError) as refused:
            hand_in(source, inbox, None, None, is_free)
        assert refused.value.reason is reason
        assert source.name in str(refused.value)
    assert not inbox.exists()


def test_a_wrong_wish_in_the_source_does_not_matter_when_another_is_given(inbox: Path, photos: Path) -> None:
    put(photos / "batch.toml", b"scal = 3")
    with pytest.raises(WishError):
        hand_in(photos, inbox, None, None, is_free)
    hand_in(photos, inbox, None, Wish(), is_free)
    assert read_wish(*find_wish(inbox / "photos")) == Wish()


def test_the_inbox_is_not_handed_in_to_itself(inbox: Path, photos: Path) -> None:
    hand_in(photos, inbox, None, None, is_free)
    for source in (inbox, inbox / "photos", inbox.parent):
        with pytest.raises(ArrivalError, match="inbox"):
            hand_in(source, inbox, "again", None, is_free)


HAND_IN = """
import sys
from pathlib import Path
from infra.arrivals import hand_in
source, inbox, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
print("here", flush=True)
sys.stdin.readline()
for _ in range(times):
    print(hand_in(source, inbox, None, None, lambda name: False))
"""


def start_handing_in(source: Path, inbox: Path, times: int) -> subprocess.Popen[str]:
    """Start a process that will hand in as soon as it gets a line."""
    command = [sys.executable, "-c", HAND_IN, str(source), str(inbox), str(times)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def test_people_who_hand_in_the_same_name_at_once_get_different_ones(inbox: Path, photos: Path) -> None:
    sources = [photos, zip_of(photos)] * 2
    running = [start_handing_in(source, inbox, 10) for source in sources]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    names = [name for process in running for name in process.communicate()[0].split()]
    assert len(set(names)) == 40
    assert sorted(arrival.name for arrival in look(inbox)) == sorted(names)


def test_a_watcher_never_sees_half_a_batch(inbox: Path, tmp_path: Path) -> None:
    for number in range(300):
        put(tmp_path / "photos" / f"{number}.png")
    process = start_handing_in(tmp_path / "photos", inbox, 1)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    seen = set()
    while process.poll() is None:
        seen |= {(arrival.files, arrival.marked_ready) for arrival in look(inbox)}
    process.communicate()
    seen |= {(arrival.files, arrival.marked_ready) for arrival in look(inbox)}
    assert seen == {(300, True)}
    assert [path.name for path in inbox.iterdir()] == ["photos"]
