"""What is special about a store in a folder: links, folders in the way, leftovers, trouble with the disk."""

import errno
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.storage import LocalStore, Missing, StorageError
from infra.storage.trouble import sentence


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_links_are_not_followed_out_of_the_store(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.pem").write_bytes(b"secret")
    store.write("cat.png", b"meow")
    (store.root / "folder").symlink_to(tmp_path / "secret")
    (store.root / "key.pem").symlink_to(tmp_path / "secret" / "key.pem")
    assert [found.key for found in store.list()] == ["cat.png"]
    assert list(store.list("folder/")) == []
    for key in ("key.pem", "folder/key.pem"):
        assert store.stat(key) is None
        with pytest.raises(Missing):
            store.read(key)
        with pytest.raises(Missing):
            store.local_path(key)
        with pytest.raises(StorageError, match="move it away"):
            store.write(key, b"overwritten")
        with pytest.raises(StorageError, match="move it away"):
            store.copy("cat.png", f"{key}/new/file")
        store.delete(key)
    assert (tmp_path / "secret" / "key.pem").read_bytes() == b"secret"
    assert [path.name for path in (tmp_path / "secret").iterdir()] == ["key.pem"]


def test_the_root_itself_may_be_a_link(store: LocalStore, tmp_path: Path) -> None:
    store.write("cat.png", b"meow")
    (tmp_path / "link").symlink_to(store.root)
    assert LocalStore(tmp_path / "link").read("cat.png") == b"meow"


def test_a_folder_is_no_file_and_is_not_written_over(store: LocalStore) -> None:
    store.write("photos/cat.png", b"meow")
    with pytest.raises(StorageError, match=r"photos.*folder"):
        store.write("photos", b"x")
    store.delete("photos")
    assert store.read("photos/cat.png") == b"meow"


def test_a_file_is_no_folder(store: LocalStore) -> None:
    store.write("photos", b"x")
    assert store.stat("photos/cat.png") is None
    with pytest.raises(StorageError, match=r"cannot be written.*photos"):
        store.write("photos/cat.png", b"meow")


def test_a_pipe_is_no_file(store: LocalStore) -> None:
    store.write("cat.png", b"meow")
    os.mkfifo(store.root / "pipe")
    assert store.stat("pipe") is None
    assert [found.key for found in store.list()] == ["cat.png"]


def test_a_local_file_is_read_in_place(store: LocalStore) -> None:
    store.write("photos/cat.png", b"meow")
    place = store.local_path("photos/cat.png")
    assert place is not None
    assert place.read_bytes() == b"meow"


def test_reading_makes_no_folder(store: LocalStore) -> None:
    store.stat("cat.png")
    store.delete("cat.png")
    list(store.list())
    assert not store.root.exists()


def test_everybody_may_read_a_result_who_may_read_new_files(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    store.write("cat.png", b"meow")
    assert (store.root / "cat.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_refused_write_leaves_nothing_behind(store: LocalStore, tmp_path: Path) -> None:
    store.write("cat.png", b"meow")
    with pytest.raises(StorageError):
        store.write("cat.png/x", b"x")
    with pytest.raises(Missing):
        store.download("dog.png", tmp_path / "dog.png")
    assert not list(store.root.glob(".spotlift-store/tmp-*"))


def test_a_version_seen_before_a_hand_made_change_is_not_the_current_one(store: LocalStore) -> None:
    seen = store.write("cat.png", b"meow")
    (store.root / "cat.png").write_bytes(b"purr")
    with pytest.raises(StorageError, match="has changed"):
        store.write("cat.png", b"hiss", if_version=seen.version)


def test_versions_follow_each_other_even_when_the_clock_goes_back(store: LocalStore) -> None:
    store.write("cat.png", b"meow")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    os.utime(store.root / "cat.png", (tomorrow.timestamp(), tomorrow.timestamp()))
    future = store.stat("cat.png")
    assert future is not None
    later = store.write("cat.png", b"meow")
    assert later.version != future.version
    assert later.modified >= future.modified, "or a third version could look like the first"


UPLOAD_FROM_A_PIPE = """
import sys
from pathlib import Path
from infra.storage import LocalStore
LocalStore(Path(sys.argv[1])).upload(Path(sys.argv[2]), "cat.png")
"""


def test_a_writer_that_is_killed_leaves_only_what_the_sweep_removes(store: LocalStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen([sys.executable, "-c", UPLOAD_FROM_A_PIPE, store.root, tmp_path / "pipe"])
    with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
        for _ in range(64):  # far more than a pipe holds, so the writer is in the middle of its copy
            pipe.write(b"x" * 65536)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    now = datetime.now(UTC)
    assert list(store.list()) == []
    assert len(list(store.root.glob(".spotlift-store/tmp-*"))) == 1
    assert store.sweep(now) == 0, "a young file may belong to a writer that lives"
    assert store.sweep(now + timedelta(days=2)) == 1
    assert not list(store.root.glob(".spotlift-store/tmp-*"))
    store.write("cat.png", b"meow")


WRITE_WITHOUT_RIGHTS = """
import json, os, resource, sys
from pathlib import Path
from infra.storage import LocalStore, StorageError
if sys.argv[2] == "forbidden" and os.getuid() == 0:
    os.setuid(65534)
if sys.argv[2] == "too large":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    LocalStore(Path(sys.argv[1])).write("cat.png", b"x" * 2000)
except StorageError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(("trouble", "words"), [("forbidden", "permission denied"), ("too large", "larger than")])
def test_trouble_with_the_disk_is_told_in_a_sentence(tmp_path: Path, trouble: str, words: str) -> None:
    root = tmp_path / "store"
    root.mkdir()
    if trouble == "forbidden":
        root.chmod(0o500)
    told = subprocess.run(
        [sys.executable, "-c", WRITE_WITHOUT_RIGHTS, root, trouble],
        capture_output=True,
        text=True,
        check=True,
    )
    kind, message = json.loads(told.stdout)
    assert kind == "StorageError"
    assert words in message
    assert message.endswith(".")
    assert not list(root.glob("cat.png"))
    assert not list(root.glob(".spotlift-store/tmp-*"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "choose another folder"),
        (errno.ESTALE, os.strerror(errno.ESTALE)),
    ],
)
def test_each_trouble_has_its_advice(number: int, advice: str) -> None:
    said = sentence(OSError(number, os.strerror(number), "/outbox/cat.png"), "writing 'cat.png'")
    assert said.startswith("Stopped while writing 'cat.png': ")
    assert advice in said
    assert "/outbox/cat.png" in said
