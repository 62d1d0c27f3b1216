"""The promises of `Store`, kept by every backend: add yours to the `store` fixture."""

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.storage import ABSENT, AlreadyThere, BadKey, Changed, LocalStore, Missing, Store


@pytest.fixture(params=["local folder"])
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "store")


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def test_what_was_written_is_read(store: Store) -> None:
    written = store.write("photos/cat.png", b"meow")
    assert store.read("photos/cat.png") == b"meow"
    assert store.stat("photos/cat.png") == written
    assert (written.key, written.size) == ("photos/cat.png", 4)
    assert abs(datetime.now(UTC) - written.modified) < timedelta(minutes=1)


def test_an_empty_file_is_a_file(store: Store) -> None:
    store.write("_READY", b"")
    assert store.read("_READY") == b""
    assert keys(store) == ["_READY"]


def test_a_new_store_is_empty(store: Store) -> None:
    assert keys(store) == []
    assert store.stat("cat.png") is None


@pytest.mark.parametrize("key", ["cat.png", "photos/cat.png", "photos"])
def test_reading_what_is_not_there_is_missing(store: Store, key: str, tmp_path: Path) -> None:
    store.write("photos/dog.png", b"woof")
    with pytest.raises(Missing, match=key):
        store.read(key)
    with pytest.raises(Missing):
        store.download(key, tmp_path / "out")
    with pytest.raises(Missing):
        store.copy(key, "copy")
    assert store.stat(key) is None
    assert not (tmp_path / "out").exists()


def test_a_file_is_replaced(store: Store) -> None:
    first = store.write("cat.png", b"meow")
    second = store.write("cat.png", b"purr")
    assert store.read("cat.png") == b"purr"
    assert first.version != second.version


def test_the_same_bytes_written_again_are_another_version(store: Store) -> None:
    versions = {store.write("cat.png", b"meow").version for _ in range(200)}
    assert len(versions) == 200


def test_a_create_only_write_leaves_what_is_there(store: Store) -> None:
    store.write("cat.png", b"first", if_version=ABSENT)
    with pytest.raises(AlreadyThere, match=r"cat\.png"):
        store.write("cat.png", b"second", if_version=ABSENT)
    assert store.read("cat.png") == b"first"


def test_an_if_unchanged_write_replaces_the_version_it_has_seen(store: Store) -> None:
    seen = store.write("state.json", b"1")
    written = store.write("state.json", b"2", if_version=seen.version)
    assert store.read("state.json") == b"2"
    assert store.stat("state.json") == written


def test_an_if_unchanged_write_never_undoes_another(store: Store) -> None:
    seen = store.write("state.json", b"1")
    store.write("state.json", b"2")
    with pytest.raises(Changed, match=r"state\.json"):
        store.write("state.json", b"3", if_version=seen.version)
    assert store.read("state.json") == b"2"


def test_a_deleted_file_has_changed(store: Store) -> None:
    seen = store.write("state.json", b"1")
    store.delete("state.json")
    with pytest.raises(Changed):
        store.write("state.json", b"2", if_version=seen.version)
    assert store.stat("state.json") is None


def test_deleting_twice_is_harmless(store: Store) -> None:
    store.write("photos/cat.png", b"meow")
    store.delete("photos/cat.png")
    store.delete("photos/cat.png")
    assert keys(store) == []


def test_only_the_expected_version_is_deleted(store: Store) -> None:
    seen = store.write("cat.png", b"meow")
    store.write("cat.png", b"purr")
    with pytest.raises(Changed):
        store.delete("cat.png", if_version=seen.version)
    assert store.read("cat.png") == b"purr"
    store.delete("cat.png", if_version=store.write("cat.png", b"meow").version)
    with pytest.raises(Changed):
        store.delete("cat.png", if_version=seen.version)


def test_a_local_file_goes_in_and_comes_out(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "in.png").write_bytes(content)
    uploaded = store.upload(tmp_path / "in.png", "a/b.png")
    assert uploaded.size == len(content)
    assert store.download("a/b.png", tmp_path / "out.png") == uploaded
    assert (tmp_path / "out.png").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "store"]


def test_an_upload_can_be_create_only(store: Store, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"second")
    store.write("b.png", b"first")
    with pytest.raises(AlreadyThere):
        store.upload(tmp_path / "in.png", "b.png", if_version=ABSENT)
    assert store.read("b.png") == b"first"


def test_an_upload_of_nothing_says_what_is_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"in\.png"):
        store.upload(tmp_path / "in.png", "b.png")


def test_a_copy_is_a_file_of_its_own(store: Store) -> None:
    store.write("a.png", b"one")
    copied = store.copy("a.png", "deep/b.png")
    store.write("a.png", b"two")
    assert store.read("deep/b.png") == b"one"
    assert store.stat("deep/b.png") == copied
    with pytest.raises(AlreadyThere):
        store.copy("a.png", "deep/b.png", if_version=ABSENT)


def test_the_list_is_sorted_by_the_whole_key(store: Store) -> None:
    names = ["ab", "a-b", "a/b", "a/c/d", "a.b", "a/c.d", "ä", "Z", "b"]
    for name in names:
        store.write(name, b"")
    assert keys(store) == sorted(names)


def test_a_prefix_is_the_start_of_a_key_and_no_folder(store: Store) -> None:
    for name in ("photos/cat.png", "photos-2/cat.png", "photo", "drawings/cat.png"):
        store.write(name, b"")
    assert keys(store, "photo") == ["photo", "photos-2/cat.png", "photos/cat.png"]
    assert keys(store, "photos/") == ["photos/cat.png"]
    assert keys(store, "photos/c") == ["photos/cat.png"]
    assert keys(store, "videos/") == keys(store, "photos/cat.png/") == []


def test_the_list_knows_sizes_and_versions(store: Store) -> None:
    written = [store.write("a", b"1"), store.write("b", b"22")]
    assert list(store.list()) == written


@pytest.mark.parametrize(
    "key",
    [
        "with a space.png",
        "Übung/größer.png",
        "猫の写真.png",
        "🐈‍⬛.png",
        "e\N{COMBINING ACUTE ACCENT}.png",
        ".hidden/.file",
        "back\\slash.png",
        "100% #1?.png",
        "x" * 251 + ".png",
        "deep/" * 40 + "cat.png",
    ],
)
def test_names_stay_as_people_wrote_them(store: Store, key: str) -> None:
    store.write(key, b"meow")
    assert keys(store) == [key]
    assert store.read(key) == b"meow"


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../cat.png", "a/../../cat.png", "a//b", "a/./b", "a/", ".", "..", "a\0b", "a\nb",
     "\ud800.png", "x" * 256, "x/" * 600 + "x", ".spotlift-store/lock-01"],
)  # fmt: skip
def test_a_key_that_leads_elsewhere_is_refused_by_every_method(store: Store, key: str, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(b"x")
    store.write("good", b"x")
    for attempt in (
        lambda: store.stat(key),
        lambda: store.read(key),
        lambda: store.write(key, b"x"),
        lambda: store.download(key, tmp_path / "out"),
        lambda: store.upload(tmp_path / "in.png", key),
        lambda: store.copy("good", key),
        lambda: store.copy(key, "copy"),
        lambda: store.delete(key),
        lambda: store.local_path(key),
    ):
        with pytest.raises(BadKey):
            attempt()
    assert keys(store) == ["good"]


@pytest.mark.parametrize("prefix", ["/", "/etc", "../", "a/../b", "a//b"])
def test_a_prefix_that_leads_elsewhere_is_refused(store: Store, prefix: str) -> None:
    with pytest.raises(BadKey):
        list(store.list(prefix))


def test_a_store_travels_as_a_value(store: Store) -> None:
    store.write("cat.png", b"meow")
    assert pickle.loads(pickle.dumps(store)).read("cat.png") == b"meow"
