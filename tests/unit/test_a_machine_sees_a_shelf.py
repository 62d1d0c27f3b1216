"""What a machine sees of a store: a few verbs, and only the standard library's errors."""

import errno
import hashlib
import pickle
from pathlib import Path

import pytest

from infra.storage import LocalStore
from infra.storage.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(LocalStore(tmp_path / "store"))


def test_a_result_is_published_once(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "result.png").write_bytes(b"first")
    assert shelf.publish(tmp_path / "result.png", "photos/cat.png")
    (tmp_path / "result.png").write_bytes(b"second")
    assert not shelf.publish(tmp_path / "result.png", "photos/cat.png")
    assert shelf.read_if_there("photos/cat.png") == b"first"
    assert shelf.publish(tmp_path / "result.png", "photos/cat.png", replace=True)
    assert shelf.read_if_there("photos/cat.png") == b"second"


def test_a_checksum_tells_what_is_there(shelf: Shelf) -> None:
    assert shelf.checksum("cat.png") is None
    shelf.put("cat.png", b"meow")
    assert shelf.checksum("cat.png") == hashlib.sha256(b"meow").hexdigest()
    assert shelf.checksum("cat.png/deeper") is None


def test_a_note_is_replaced(shelf: Shelf) -> None:
    assert shelf.read_if_there("note.json") is None
    shelf.put("note.json", b"1")
    shelf.put("note.json", b"2")
    assert shelf.read_if_there("note.json") == b"2"


def test_an_input_is_read_in_place_or_copied(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("cat.png", b"meow")
    place = shelf.local_path("cat.png")
    assert place is not None
    assert place.read_bytes() == b"meow"
    shelf.download("cat.png", tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == b"meow"


def test_trouble_comes_in_the_words_of_the_standard_library(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cat\.png"):
        shelf.download("cat.png", tmp_path / "copy.png")
    with pytest.raises(FileNotFoundError):
        shelf.local_path("cat.png")
    shelf.put("folder/cat.png", b"meow")
    with pytest.raises(OSError, match="cannot be written") as in_the_way:
        shelf.put("folder", b"x")
    with pytest.raises(OSError, match="too long") as too_long:
        shelf.put("x" * 256, b"x")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="a part of the path is a file") as no_store:
        Shelf(LocalStore(tmp_path / "file" / "store")).put("cat.png", b"x")
    assert [trouble.value.errno for trouble in (in_the_way, too_long, no_store)] == [
        errno.EEXIST, errno.EINVAL, errno.ENOTDIR
    ]  # fmt: skip


def test_a_shelf_travels_as_a_value(shelf: Shelf) -> None:
    shelf.put("cat.png", b"meow")
    assert pickle.loads(pickle.dumps(shelf)).read_if_there("cat.png") == b"meow"
