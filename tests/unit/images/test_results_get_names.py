"""Every result has a name of its own, as near to the image's name as can be."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.arrivals.names import IMAGE_SUFFIXES
from workers.naming import READ_ONLY, RESERVED, SUFFIXES, format_of, is_image_name, known_format, output_names


def test_names_stay_as_they_are_unless_another_format_is_wished() -> None:
    names = ["a.png", "deep/b.JPG", "c.jpeg", "c.jpg"]
    assert output_names(names, None) == {name: name for name in names}
    assert output_names(["a.PNG", "b/c.JPEG"], "png") == {"a.PNG": "a.PNG", "b/c.JPEG": "b/c.png"}


def test_a_name_of_the_wished_format_in_another_spelling_stays() -> None:
    assert output_names(["a.jpeg", "b.JPE", "c.png"], "jpg") == {
        "a.jpeg": "a.jpeg",
        "b.JPE": "b.JPE",
        "c.png": "c.jpg",
    }


def test_names_that_would_clash_keep_their_old_suffix() -> None:
    assert output_names(["a.gif", "a.jpg", "b.gif"], "png") == {
        "a.gif": "a.gif.png",
        "a.jpg": "a.jpg.png",
        "b.gif": "b.png",
    }


def test_an_image_that_keeps_its_name_is_never_renamed_for_one_that_does_not() -> None:
    assert output_names(["a.gif", "a.png"], "png") == {"a.gif": "a.gif.png", "a.png": "a.png"}


def test_names_that_differ_only_by_case_clash() -> None:
    assert output_names(["A.png", "a.png"], None) == {"A.png": "A.png", "a.png": "a-2.png"}
    assert output_names(["A.gif", "a.jpg"], "png") == {"A.gif": "A.gif.png", "a.jpg": "a.jpg.png"}


def test_a_name_that_is_taken_by_a_name_with_two_suffixes() -> None:
    names = output_names(["a.gif", "a.jpg", "a.gif.png"], "png")
    assert names["a.gif.png"] == "a.gif.png"
    assert names["a.gif"] == "a.gif-2.png"


def test_a_long_name_is_cut_before_its_suffix_and_stays_apart_from_others() -> None:
    longest = "ä" * 125 + "a"  # 251 bytes, so that with .png nothing is left
    names = [f"d/{longest}.gif", f"d/{longest}.jpg", f"d/{longest.upper()}.gif", "d/b.gif"]
    results = output_names(names, "tiff")
    assert results["d/b.gif"] == "d/b.tif"
    assert len({result.casefold() for result in results.values()}) == 4
    for name in names[:3]:
        assert results[name].endswith(".tif")
        assert results[name][:100].casefold() == name[:100].casefold()
        assert 240 < len(results[name].encode()) - len("d/") <= 255
    fits = "a" * 251
    assert output_names([f"{fits}.gif"], "png") == {f"{fits}.gif": f"{fits}.png"}
    assert output_names([f"{fits}.gif"], None) == {f"{fits}.gif": f"{fits}.gif"}


def test_deep_folders_are_shortened_alike_for_all_their_images() -> None:
    deep = "/".join(["folder" * 20] * 8)
    results = output_names([f"{deep}/a.png", f"{deep}/b.png", f"{deep}x/a.png"], None)
    folders = [result.rpartition("/")[0] for result in results.values()]
    assert folders[0] == folders[1] != folders[2]
    assert folders[0].startswith("folder" * 20 + "/")
    assert all(len(f"{folder}/{'a' * 255}".encode()) <= 900 for folder in folders)


def test_our_own_files_beside_the_results_keep_their_places() -> None:
    assert {"report.html", "manifest.json"} == RESERVED
    assert output_names(["report.html/a.png", "Manifest.JSON/b/c.png", "d/report.html/e.png"], None) == {
        "report.html/a.png": "report.html-2/a.png",
        "Manifest.JSON/b/c.png": "Manifest.JSON-2/b/c.png",
        "d/report.html/e.png": "d/report.html/e.png",
    }


def test_no_result_has_the_place_of_a_folder() -> None:
    assert output_names(["a.gif", "a.png/b.gif"], "png") == {"a.gif": "a.gif.png", "a.png/b.gif": "a.png/b.png"}
    assert output_names(["A.png", "a.png/b.png"], None) == {"A.png": "A-2.png", "a.png/b.png": "a.png/b.png"}


def test_images_that_have_result_names_keep_them_and_no_other_gets_one() -> None:
    first = output_names(["a.gif"], "png")
    assert first == {"a.gif": "a.png"}
    later = output_names(["a.gif", "a.jpg", "A.png", "a.png/b.png"], "png", first)
    assert later == {"a.gif": "a.png", "a.jpg": "a.jpg.png", "A.png": "A-2.png", "a.png/b.png": "a.png-2/b.png"}
    assert output_names(["a.png"], None, {"gone.gif": "A.PNG"}) == {"a.png": "a-2.png"}
    assert output_names(["d.png"], None, {"gone.gif": "D.png/a.png"}) == {"d.png": "d-2.png"}


def test_a_hundred_thousand_names_take_seconds() -> None:
    names = [f"{number}.{suffix}" for number in range(50_000) for suffix in ("gif", "jpg")]
    began = time.process_time()
    assert len(set(output_names(names, "png").values())) == len(names)
    assert time.process_time() - began < 20


_name = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["", "d/", "D/", "a.png/", "A.gif/"]),
    st.sampled_from(["a", "A", "b", "a-2", "a.gif", "a.jpg", "ß", "SS", "ä" * 125, "Ä" * 125 + "x"]),
    st.sampled_from(["png", "PNG", "gif", "jpg", "tiff"]),
)


_formats = st.sampled_from([None, "png", "jpeg", "gif"])


@given(names=st.lists(_name, max_size=15, unique=True), wished=_formats)
def test_no_two_results_clash_and_the_order_does_not_matter(names: list[str], wished: str | None) -> None:
    results = output_names(names, wished)
    assert set(results) == set(names)
    places = {result.casefold() for result in results.values()}
    assert len(places) == len(names)
    assert not any(place.rpartition("/")[0] in places for place in places)
    assert all(len(part.encode()) <= 255 for result in results.values() for part in result.split("/"))
    assert output_names(names[::-1], wished) == results
    for name, result in results.items():
        assert result.rpartition("/")[0] == name.rpartition("/")[0]
        assert format_of(result) == (format_of(name) if wished is None else known_format(wished))


@given(
    before=st.lists(_name, max_size=8, unique=True), names=st.lists(_name, max_size=8, unique=True),
    format_before=_formats, wished=_formats,
)  # fmt: skip
def test_what_is_known_stays_however_the_others_are_called(
    before: list[str], names: list[str], format_before: str | None, wished: str | None
) -> None:
    known = output_names(before, format_before)
    results = known | output_names(names, wished, known)
    assert known.items() <= results.items()
    places = {result.casefold() for result in results.values()}
    assert len(places) == len(results)
    assert not any(place.rpartition("/")[0] in places for place in places)


def test_what_is_only_read_becomes_a_png() -> None:
    assert output_names(["a.ppm", "b.AVIF", "c.ico", "c.png"], None) == {
        "a.ppm": "a.png",
        "b.AVIF": "b.png",
        "c.ico": "c.ico.png",
        "c.png": "c.png",
    }
    assert output_names(["a.ppm"], "jpg") == {"a.ppm": "a.jpg"}


def test_a_name_that_says_nothing_of_a_format_gets_a_suffix_more() -> None:
    assert output_names(["scan", "v1.2", "d/x.tmp"], None) == {
        "scan": "scan.png",
        "v1.2": "v1.2.png",
        "d/x.tmp": "d/x.tmp.png",
    }


def test_inbox_and_machines_take_the_same_names_for_images() -> None:
    assert {suffix for group in SUFFIXES.values() for suffix in group} | READ_ONLY == IMAGE_SUFFIXES


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "b/c.jpeg", "a.jpe", "a.webp", "a.TIF", "a.tiff", "a.bmp", "a.gif"])
def test_image_names(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["png", "a.txt", "a.png.part", "a", ".png", "a.cr2", "batch.toml"])
def test_other_names(name: str) -> None:
    assert not is_image_name(name)


def test_a_format_is_meant_in_any_spelling_or_named_in_the_error() -> None:
    assert [known_format(word) for word in ("png", ".JPG", "tif", "WebP")] == ["PNG", "JPEG", "TIFF", "WEBP"]
    with pytest.raises(ValueError, match='"heic" is not a format'):
        known_format("heic")
