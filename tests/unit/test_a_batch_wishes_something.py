"""What a batch.toml may say, and what a person is told who mistypes it."""

import pickle
from dataclasses import fields

import pytest

from infra.arrivals import ArrivalReason, Wish, WishError, read_wish, write_wish
from infra.states import BatchEnd


def test_without_a_wish_the_defaults_hold() -> None:
    assert read_wish(None, "batch.toml") == Wish()
    assert read_wish(b"", "batch.toml") == Wish()
    assert Wish() == Wish(model="auto", scale=2, output_format=None, tonight=False, note="")


def test_every_wish_is_read() -> None:
    content = """
        # for the exhibition
        model = "models/best.keras"
        scale = 4
        output_format = "webp"
        tonight = true
        note = '''Grandma's
        album'''
    """
    assert read_wish(content.encode(), "batch.toml") == Wish(
        "models/best.keras", 4, "webp", True, "Grandma's\n        album"
    )


def test_what_is_left_open_is_as_the_settings_say() -> None:
    assert read_wish(b"scale = 3", "batch.toml", Wish(model="mine", scale=4)) == Wish(model="mine", scale=3)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("png", "png"), ("JPEG", "jpeg"), ("jpg", "jpeg"), (".tif", "tiff"), ("same", None), (" Same ", None)],
)
def test_formats_are_taken_as_people_write_them(word: str, meant: str | None) -> None:
    assert read_wish(f'output_format = "{word}"'.encode(), "batch.toml").output_format == meant


def test_a_byte_order_mark_of_notepad_does_no_harm() -> None:
    assert read_wish(b"\xef\xbb\xbfscale = 3\r\n", "batch.toml").scale == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("modell = 'fast'", "a key 'modell' that does not exist (did you mean model?)"),
        ("xyz = 1", "allowed are model, scale, output_format, tonight, note"),
        ("[wish]\nscale = 2", "a key 'wish' that does not exist"),
        ("scale = '2'", "scale = '2' is not possible; allowed are the whole numbers 2 to 8"),
        ("scale = 1", "2 to 8"),
        ("scale = 2.0", "2 to 8"),
        ("scale = true", "scale = true is not possible"),
        ("output_format = 'jpeg2000'", "did you mean jpeg?"),
        ("output_format = 'heic'", "allowed are png, jpeg, webp, tiff, bmp, gif and same"),
        ("output_format = 1", "no format"),
        ("tonight = 'yes'", "neither true nor false"),
        ("tonight = 1", "neither true nor false"),
        ("model = 7", "in quotes"),
        ("model = ' '", "is empty"),
        ("note = ['a']", "is no text"),
        ('note = "\\u001b[31mred"', "control characters"),
        (f"note = '{'x' * 2001}'", "too long"),
        ("scale 2", "not valid TOML"),
        ("scale = 2\nscale = 3", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("#" * 70_000, "needs a few lines"),
    ],
)
def test_a_wrong_wish_is_refused_with_what_is_allowed(content: str, told: str) -> None:
    with pytest.raises(WishError) as refused:
        read_wish(content.encode(), "batch.toml of photos")
    assert str(refused.value).startswith("batch.toml of photos")
    assert told in str(refused.value)
    assert len(str(refused.value)) < 300
    assert refused.value.reason is ArrivalReason.BAD_WISH
    assert refused.value.end is BatchEnd.BAD_WISH


@pytest.mark.parametrize("content", ["scale = 2".encode("utf-16"), b"note = '\xff'"])
def test_text_that_is_not_utf8_is_refused(content: bytes) -> None:
    with pytest.raises(WishError, match="UTF-8"):
        read_wish(content, "batch.toml")


@pytest.mark.parametrize(
    "wish",
    [
        Wish(),
        Wish('my "model"\\.keras', 4, "tiff", True, "two\nlines, a\ttab, 写真 and 'quotes'"),
    ],
)
def test_a_written_wish_is_read_back(wish: Wish) -> None:
    assert read_wish(write_wish(wish), "batch.toml") == wish


def test_every_field_of_a_wish_can_be_wished() -> None:
    with pytest.raises(WishError) as refused:
        read_wish(b"nothing = 1", "batch.toml")
    assert all(field.name in str(refused.value) for field in fields(Wish))


def test_a_refusal_travels_between_processes() -> None:
    copied = pickle.loads(pickle.dumps(WishError("no.")))
    assert (str(copied), copied.reason) == ("no.", ArrivalReason.BAD_WISH)
