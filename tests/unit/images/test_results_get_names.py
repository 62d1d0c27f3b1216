"""Every result has a name of its own, as near to the image's name as can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.naming import format_of, is_image_name, known_format, output_names


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


_name = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["", "d/", "D/"]),
    st.sampled_from(["a", "A", "b", "a-2", "a.gif", "a.jpg", "ß", "SS"]),
    st.sampled_from(["png", "PNG", "gif", "jpg", "tiff"]),
)


@given(names=st.lists(_name, max_size=15, unique=True), wished=st.sampled_from([None, "png", "jpeg", "gif"]))
def test_no_two_results_clash_and_the_order_does_not_matter(names: list[str], wished: str | None) -> None:
    results = output_names(names, wished)
    assert set(results) == set(names)
    assert len({result.casefold() for result in results.values()}) == len(names)
    assert output_names(names[::-1], wished) == results
    for name, result in results.items():
        assert result.rpartition("/")[0] == name.rpartition("/")[0]
        assert format_of(result) == (format_of(name) if wished is None else known_format(wished))


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "b/c.jpeg", "a.jpe", "a.webp", "a.TIF", "a.tiff", "a.bmp", "a.gif"])
def test_image_names(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["png", "a.txt", "a.png.part", "a", ".png", "a.heic", "batch.toml"])
def test_other_names(name: str) -> None:
    assert not is_image_name(name)


def test_a_format_is_meant_in_any_spelling_or_named_in_the_error() -> None:
    assert [known_format(word) for word in ("png", ".JPG", "tif", "WebP")] == ["PNG", "JPEG", "TIFF", "WEBP"]
    with pytest.raises(ValueError, match='"heic" is not a format'):
        known_format("heic")
