"""Zips as strangers send them: honest ones come out as people expect, the others are refused as a whole."""

import stat
import struct
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.arrivals import (
    ArrivalError,
    ArrivalReason,
    UnpackLimits,
    find_wish,
    find_wish_in_zip,
    inspect_zip,
    sweep_unpacking,
    unpack,
)
from infra.arrivals.zip_end import find_end
from infra.states import BatchEnd
from infra.storage import StorageError

PIXELS = bytes(range(256)) * 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photos.zip"


def pack(path: Path, *names: str, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else PIXELS)
    return path


def patch(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """Change bytes of a zip that zipfile would not write so itself."""
    data = path.read_bytes()
    for old, new in changes:
        assert old in data
        assert len(old) == len(new)
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


def refusal(path: Path, limits: UnpackLimits = UnpackLimits()) -> ArrivalError:  # noqa: B008
    """Unpack, see that it is refused with a sentence and leaves nothing, and return the refusal."""
    before = path.read_bytes()
    with pytest.raises(ArrivalError) as refused:
        unpack(path, path.parent / "work" / "photos", limits)
    assert path.read_bytes() == before
    assert not (path.parent / "work").exists() or list((path.parent / "work").iterdir()) == []
    assert path.name in str(refused.value)
    assert str(refused.value).endswith(".")
    return refused.value


def test_an_honest_zip_comes_out_whole(path: Path, tmp_path: Path) -> None:
    pack(path, "cat.png", "2026/", "2026/May/dog.png", "notes.txt")
    names = unpack(path, tmp_path / "work" / "photos")
    assert names == ["2026/May/dog.png", "cat.png", "notes.txt"]
    for name in names:
        assert (tmp_path / "work" / "photos" / name).read_bytes() == PIXELS
    assert [entry.name for entry in (tmp_path / "work").iterdir()] == ["photos"]


def test_unpacking_again_replaces_what_was_there(path: Path, tmp_path: Path) -> None:
    unpack(pack(path, "cat.png", "dog.png"), tmp_path / "photos")
    assert unpack(pack(path, "cat.png"), tmp_path / "photos") == ["cat.png"]
    assert [entry.name for entry in (tmp_path / "photos").iterdir()] == ["cat.png"]


def test_what_desktops_add_is_left_out(path: Path, tmp_path: Path) -> None:
    pack(path, "cat.png", ".DS_Store", "__MACOSX/._cat.png", "Thumbs.db", "deep/desktop.ini", ".git/cat.png")
    assert unpack(path, tmp_path / "photos") == ["cat.png"]


@pytest.mark.parametrize("zip_name", ["photos.zip", "Photos.ZIP", "photos (1).zip", "photos-2.zip"])
def test_a_zipped_folder_of_the_same_name_is_the_batch_itself(tmp_path: Path, zip_name: str) -> None:
    pack(tmp_path / zip_name, "photos/", "photos/cat.png", "photos/2026/dog.png", "__MACOSX/photos/._cat.png")
    assert unpack(tmp_path / zip_name, tmp_path / "out") == ["2026/dog.png", "cat.png"]


@pytest.mark.parametrize(
    "names", [["summer/cat.png"], ["photos/cat.png", "dog.png"], ["photos/cat.png", "more/dog.png"]]
)
def test_any_other_folder_keeps_its_name(path: Path, tmp_path: Path, names: list[str]) -> None:
    assert unpack(pack(path, *names), tmp_path / "out") == sorted(names)


def test_a_zip_beyond_the_old_limits_is_read_too(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("cat.png", "w", force_zip64=True) as file:
        file.write(PIXELS)
    assert unpack(path, tmp_path / "out") == ["cat.png"]


def test_the_end_of_a_zip_with_many_files_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)  # so that three files get the record for many
    pack(path, "a.png", "b.png", "c.png")
    data = path.read_bytes()
    path.write_bytes(data[:-14] + b"\xff" * 12 + data[-2:])  # and the old record says: look there
    with path.open("rb") as file:
        end = find_end(file)
    assert end is not None
    assert end.entries == 3
    assert inspect_zip(path) == ["a.png", "b.png", "c.png"]
    path.write_bytes(data[:-42] + b"PK\x06\x09" + data[-38:-14] + b"\xff" * 12 + data[-2:])
    assert refusal(path).reason is ArrivalReason.DAMAGED


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["cat.png", "batch.toml"], True),
        (["photos/cat.png", "photos/batch.toml"], True),
        (["summer/cat.png", "summer/batch.toml"], True),
        (["cat.png", "summer/batch.toml"], False),
        (["cat.png"], False),
    ],
)
def test_the_wish_is_read_without_unpacking_and_lies_where_it_would_after(
    path: Path, tmp_path: Path, names: list[str], found: bool
) -> None:
    pack(path, *names)
    wish = PIXELS if found else None
    assert find_wish_in_zip(path) == (wish, "batch.toml of photos.zip")
    unpack(path, tmp_path / "out")
    assert find_wish(tmp_path / "out")[0] == wish


def test_a_zip_without_an_image_is_empty_and_an_unsafe_one_is_not_read(path: Path) -> None:
    for names, reason in ((["batch.toml"], ArrivalReason.EMPTY), (["a.png", "A.png"], ArrivalReason.DUPLICATE)):
        with pytest.raises(ArrivalError) as refused:
            find_wish_in_zip(pack(path, *names))
        assert refused.value.reason is reason


def test_utf8_without_its_flag_is_read_as_the_author_saw_it(path: Path, tmp_path: Path) -> None:
    pack(path, "UUbung.png")
    patch(path, (b"UUbung", "Übung".encode()))
    assert unpack(path, tmp_path / "out") == ["Übung.png"]


@pytest.mark.parametrize(
    ("stand_in", "name"),
    [
        ("aa/cat.png", b"../cat.png"),
        ("aa/aa/cat.png", b"aa/../cat.png"),
        ("aaa/cat.png", b"a/../ct.png"),
        ("aetc/cat.png", b"/etc/cat.png"),
        ("aa/cat.png", b"C:/cat.png"),
        ("aa/cat.png", b"aa\\cat.png"),
        ("aa/cat.png", b"aa/c\0t.png"),
        ("aa/cat.png", b"aa/c\nt.png"),
        ("aa/cat.png", b"a//cat.png"),
        ("aa/cat.png", b"./acat.png"),
        ("aa/cat.png", b"/./..////."),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(path: Path, stand_in: str, name: bytes) -> None:
    pack(path, "good.png", stand_in)
    patch(path, (stand_in.encode(), name))
    assert refusal(path).reason is ArrivalReason.UNSAFE_NAME


def test_a_name_without_a_letter_is_refused(path: Path) -> None:
    pack(path, "x")
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")
    directory = bytearray(data[at:])
    directory[28:30] = struct.pack("<H", 0)  # the length of the name
    end = directory.index(b"PK\x05\x06")
    directory = directory[:46] + directory[47:]
    directory[end - 1 + 12 : end - 1 + 16] = struct.pack("<L", end - 1)
    path.write_bytes(data[:at] + bytes(directory))
    assert refusal(path).reason is ArrivalReason.UNSAFE_NAME


@pytest.mark.parametrize("name", ["x" * 252 + ".png", "deep/" * 300 + "cat.png"])
def test_a_name_that_no_folder_could_hold_is_refused(path: Path, name: str) -> None:
    assert refusal(pack(path, name)).reason is ArrivalReason.UNSAFE_NAME


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("cat.png")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert refusal(path).reason is ArrivalReason.LINK


def test_a_password_is_not_guessed(path: Path) -> None:
    pack(path, "cat.png")
    data = bytearray(path.read_bytes())
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + at] |= 1
    path.write_bytes(bytes(data))
    refused = refusal(path)
    assert refused.reason is ArrivalReason.ENCRYPTED
    assert "password" in str(refused)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_without_bound_are_refused(path: Path, method: int) -> None:
    assert refusal(pack(path, "cat.png", method=method)).reason is ArrivalReason.UNSUPPORTED


@pytest.mark.parametrize(
    "names",
    [
        ["cat.png", "CAT.png"],
        ["Über/cat.png", "U\N{COMBINING DIAERESIS}ber/cat.png"],
        ["straße.png", "STRASSE.png"],
        ["cat.png", "cat.png/dog.png"],
        ["Cat", "cat/dog.png"],
    ],
)
def test_names_that_share_a_place_are_refused(path: Path, names: list[str]) -> None:
    refused = refusal(pack(path, *names))
    assert refused.reason is ArrivalReason.DUPLICATE
    assert all(name in str(refused) for name in names)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(path: Path) -> None:
    assert refusal(pack(path, "cat.png", "cat.png")).reason is ArrivalReason.DUPLICATE


def test_too_many_files_are_refused(path: Path) -> None:
    pack(path, *(f"{number}.png" for number in range(11)))
    assert refusal(path, UnpackLimits(files=10)).reason is ArrivalReason.TOO_LARGE
    assert len(unpack(path, path.parent / "out", UnpackLimits(files=11))) == 11


def test_a_list_of_contents_that_would_fill_the_memory_is_not_read(path: Path) -> None:
    pack(path, *(f"{number:05}.png" for number in range(1000)))
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    few = struct.pack("<HH", 1, 1)  # the end says one file, the list has a thousand
    path.write_bytes(data[: end + 8] + few + data[end + 12 :])
    refused = refusal(path, UnpackLimits(files=100))
    assert refused.reason is ArrivalReason.TOO_LARGE
    assert "lists" in str(refused)


def test_too_many_bytes_are_refused(path: Path) -> None:
    pack(path, "cat.png", "dog.png")
    assert refusal(path, UnpackLimits(bytes=2 * len(PIXELS) - 1)).reason is ArrivalReason.TOO_LARGE


def test_too_good_a_packing_is_a_bomb_unless_it_is_small(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat.bmp", bytes(3_000_000))
    refused = refusal(path, UnpackLimits(small=1_000_000))
    assert refused.reason is ArrivalReason.TOO_LARGE
    assert refused.end is BatchEnd.UNREADABLE
    assert unpack(path, path.parent / "out") == ["cat.bmp"]


def test_files_that_share_bytes_are_a_bomb(path: Path) -> None:
    """Two entries of the list point to the same packed bytes, as in a bomb of overlapping files."""
    pack(path, "cat.png", "dog.png")
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # the place of the packed bytes
    path.write_bytes(bytes(data))
    refused = refusal(path)
    assert refused.reason is ArrivalReason.TOO_LARGE
    assert "overlaps" in str(refused)


@pytest.mark.parametrize("declared", [1, len(PIXELS) - 1, len(PIXELS) + 1, 10**9])
def test_a_declared_size_that_lies_is_found_out(path: Path, declared: int) -> None:
    pack(path, "cat.png")
    patch(path, (struct.pack("<L", len(PIXELS)), struct.pack("<L", declared)))
    generous = UnpackLimits(ratio=10**9)
    assert refusal(path, generous).reason is ArrivalReason.DAMAGED


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data[:0],
        lambda data: b"\x89PNG\r\n\x1a\n" + data[:20],
        lambda data: data[:60] + b"\0" * 20 + data[80:],
        lambda data: b"\0" * 30 + data[30:],
        lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"),
        lambda data: data[-22:],
    ],
)  # fmt: skip
def test_a_damaged_zip_is_refused(path: Path, break_it: Callable[[bytes], bytes]) -> None:
    pack(path, "cat.png")
    path.write_bytes(break_it(path.read_bytes()))
    assert refusal(path).reason is ArrivalReason.DAMAGED


def test_any_single_wrong_byte_is_refused_or_harmless(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("aa/cat.png", PIXELS[:60])
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            unpack(path, path.parent / "work" / "photos")
        except ArrivalError:
            continue
        (file,) = (found for found in (path.parent / "work").rglob("*") if found.is_file())
        assert file.read_bytes() == PIXELS[:60]


def test_a_zip_that_is_gone_is_unreadable(path: Path) -> None:
    with pytest.raises(ArrivalError, match=r"photos\.zip.*cannot be read") as refused:
        unpack(path, path.parent / "out")
    assert refused.value.reason is ArrivalReason.UNREADABLE


def test_trouble_with_the_disk_is_not_the_batchs_fault(path: Path) -> None:
    pack(path, "cat.png")
    (path.parent / "file").touch()
    with pytest.raises(StorageError):
        unpack(path, path.parent / "file" / "photos")


def test_unpacked_files_are_plain_files(path: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("cat.png")
    info.external_attr = (stat.S_IFREG | stat.S_ISUID | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, PIXELS)
    unpack(path, tmp_path / "out")
    (tmp_path / "plain").touch()
    assert (tmp_path / "out" / "cat.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_unpacking_left_is_swept_after_a_day(path: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    unpack(pack(path, "cat.png"), work / "photos" / "unpacked")
    for place in (work, work / "photos"):
        (place / ".spotlift-unpacking-0" / "deep").mkdir(parents=True)
        (place / ".spotlift-unpacking-0" / "deep" / "cat.png").write_bytes(PIXELS)
    now = datetime.now(UTC)
    assert sweep_unpacking(work, now) == 0
    assert sweep_unpacking(work, now + timedelta(days=2)) == 2
    assert [path.relative_to(work).as_posix() for path in sorted(work.rglob("*"))] == [
        "photos", "photos/unpacked", "photos/unpacked/cat.png"
    ]  # fmt: skip
    assert sweep_unpacking(tmp_path / "not there yet", now) == 0
