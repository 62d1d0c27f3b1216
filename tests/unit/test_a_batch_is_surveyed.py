"""What is found in a batch's folder: images with their sizes, the wish, and what is passed over."""

import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from infra.arrivals import ArrivalError, ArrivalReason, FoundImage, WishError, find_wish, survey
from infra.states import BatchEnd


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def put(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "tif", "TIFF", "bmp", "gif"])
def test_the_size_of_an_image_is_read_from_its_header(batch: Path, suffix: str) -> None:
    path = batch / "2026" / f"cat.{suffix}"
    path.parent.mkdir()
    Image.new("RGB", (37, 23)).save(path)
    (found,) = survey(batch).images
    assert found == FoundImage(f"2026/cat.{suffix}", path.stat().st_size, 37, 23)


def test_a_turned_photo_has_the_size_that_people_see(batch: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (37, 23)).save(batch / "cat.jpg", exif=exif)
    (found,) = survey(batch).images
    assert (found.width, found.height) == (23, 37)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\x00\x00",
        b"RIFF\0\0\0\0WEBPVP8?",
        b"<svg width='10' height='10'/>",
        b"II*\0\xff\xff\xff\xff",
        b"BM" + b"\0" * 40,
    ],
)
def test_a_size_that_cannot_be_read_is_unknown_and_the_image_is_kept(batch: Path, content: bytes) -> None:
    put(batch / "cat.png", content)
    assert survey(batch).images == (FoundImage("cat.png", len(content), None, None),)


def test_a_header_made_to_waste_time_is_given_up(batch: Path) -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 23, 37, 1) + b"\1\x11\0"
    put(batch / "a.jpg", b"\xff\xd8" + b"\0" * 100 + frame)
    put(batch / "b.jpg", b"\xff\xd8" + b"\0" * 10_000 + frame)
    honest, made = survey(batch).images
    assert (honest.width, honest.height) == (37, 23)
    assert (made.width, made.height) == (None, None)


def test_images_are_sorted_and_found_at_any_depth(batch: Path) -> None:
    for name in ("b.png", "a/z.png", "a.png", "a/b/c/d.png"):
        put(batch / name)
    assert [image.name for image in survey(batch).images] == ["a.png", "a/b/c/d.png", "a/z.png", "b.png"]


def test_what_is_no_image_is_listed_with_its_reason(batch: Path, tmp_path: Path) -> None:
    put(batch / "cat.png")
    put(batch / "notes.txt")
    put(batch / "clip.mp4")
    put(tmp_path / "secret.png")
    (batch / "link.png").symlink_to(tmp_path / "secret.png")
    (batch / "folder").symlink_to(tmp_path)
    os.mkfifo(batch / "pipe.png")
    put(batch / "bad\nname.png")
    put(batch / os.fsdecode(b"caf\xe9.png"))
    found = survey(batch)
    assert [image.name for image in found.images] == ["cat.png"]
    assert {ignored.name: ignored.why.split(",")[0] for ignored in found.ignored} == {
        "notes.txt": "not an image by its name",
        "clip.mp4": "not an image by its name",
        "link.png": "a link; links are not followed",
        "folder": "a link; links are not followed",
        "pipe.png": "not a file",
        "bad\N{REPLACEMENT CHARACTER}name.png": "its name is not valid Unicode",
        "caf\N{REPLACEMENT CHARACTER}.png": "its name is not valid Unicode",
    }


@pytest.mark.parametrize("name", [".hidden.png", "__MACOSX/cat.png", "Thumbs.db", "_READY", "batch.toml", ".git/a.png"])
def test_what_is_no_content_is_not_mentioned(batch: Path, name: str) -> None:
    put(batch / "cat.png")
    put(batch / name)
    found = survey(batch)
    assert [image.name for image in found.images] == ["cat.png"]
    assert found.ignored == ()


def test_a_batch_without_an_image_is_empty(batch: Path) -> None:
    for number in range(5):
        put(batch / f"{number}.txt")
    with pytest.raises(ArrivalError) as refused:
        survey(batch)
    assert refused.value.reason is ArrivalReason.EMPTY
    assert refused.value.end is BatchEnd.EMPTY
    assert "0.txt (not an image by its name)" in str(refused.value)
    assert "and 2 more" in str(refused.value)
    with pytest.raises(ArrivalError, match=r"There is no image in 'photos\.zip'"):
        survey(batch, called="photos.zip")


def test_the_wish_lies_at_the_top(batch: Path) -> None:
    put(batch / "cat.png")
    assert find_wish(batch) == (None, "batch.toml of photos")
    put(batch / "batch.toml", b"scale = 3")
    assert find_wish(batch) == (b"scale = 3", "batch.toml of photos")
    assert find_wish(batch, called="photos.zip") == (b"scale = 3", "batch.toml of photos.zip")


def test_or_in_the_only_folder_at_the_top(batch: Path) -> None:
    put(batch / "summer" / "batch.toml", b"scale = 3")
    put(batch / "_READY")
    put(batch / ".DS_Store")
    assert find_wish(batch)[0] == b"scale = 3"
    put(batch / "cat.png")
    assert find_wish(batch)[0] is None


def test_a_wish_that_is_a_pipe_is_refused_without_waiting_for_somebody_to_write_into_it(batch: Path) -> None:
    os.mkfifo(batch / "batch.toml")
    with pytest.raises(WishError, match=r"batch\.toml of photos is not a regular file; put a text file"):
        find_wish(batch)


def test_a_wish_that_is_a_link_is_refused(batch: Path, tmp_path: Path) -> None:
    put(tmp_path / "secret", b"password")
    (batch / "batch.toml").symlink_to(tmp_path / "secret")
    with pytest.raises(WishError, match="is a link"):
        find_wish(batch)


def test_a_wish_that_is_a_folder_is_refused(batch: Path) -> None:
    (batch / "batch.toml").mkdir()
    with pytest.raises(WishError, match="cannot be read"):
        find_wish(batch)
