"""The manifest for programs and the report page for people, from the same values."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image

from infra.report import (
    PREVIEWS,
    AttemptLine,
    BatchLine,
    IgnoredLine,
    ImageLine,
    Preview,
    Story,
    manifest,
    manifest_json,
    page,
    words,
)
from infra.states import AttemptEnd, BatchState, ImageState
from workers.rejects import RejectReason

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BATCH = BatchLine(
    name="photos",
    state=BatchState.DONE_WITH_REJECTS,
    model="fast",
    scale=2,
    model_checksum="ab" * 32,
    note="from grandma",
    arrived_at=NOON,
    started_at=NOON + timedelta(seconds=5),
    finished_at=NOON + timedelta(seconds=25),
)


def done(number: int, name: str) -> ImageLine:
    return ImageLine(
        number, name, name, ImageState.DONE,
        width=1000, height=500, out_width=2000, out_height=1000, bytes_in=1_000, bytes_out=4_000,
        sha256="cd" * 32, seconds=1.5, model="fast", machine="machine-1", attempt=1,
    )  # fmt: skip


def rejected(number: int, name: str, reason: RejectReason = RejectReason.TRUNCATED) -> ImageLine:
    return ImageLine(number, name, name, ImageState.REJECTED, reason, "It ends early.", machine="machine-2")


def story(*images: ImageLine) -> Story:
    return Story(
        BATCH,
        images,
        ignored=(IgnoredLine("notes.txt", "not an image by its name"),),
        attempts=(
            AttemptLine(1, 1, "machine-2", AttemptEnd.MACHINE_LOST, 3.0, 0),
            AttemptLine(1, 2, "machine-1", AttemptEnd.FINISHED, 9.0, 2),
        ),
    )


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


class Page(HTMLParser):
    """A report page as a browser would take it apart."""

    VOID = frozenset({"meta", "img", "input", "link", "br"})
    CLOSED_BY_OTHERS = frozenset({"td", "tr", "th", "option"})  # their end tags may be left out

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.text += " " if tag in ("dd", "td", "li", "p") else ""
        self.attributes.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID | self.CLOSED_BY_OTHERS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.CLOSED_BY_OTHERS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.attributes if found == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def test_the_manifest_tells_everything_about_every_image() -> None:
    told = json.loads(manifest_json(story(done(1, "a/cat.png"), rejected(2, "dog.png"))))
    assert told["schema"] == 1
    assert told["batch"]["name"] == "photos"
    assert told["batch"]["state"] == "DONE_WITH_REJECTS"
    assert told["batch"]["started_at"] == "2026-11-20T12:00:05+00:00"
    assert told["batch"]["seconds"] == 20
    assert told["batch"]["machine_seconds"] == 1.5
    assert told["batch"]["megapixels_in"] == 0.5
    assert told["batch"]["megapixels_out"] == 2
    assert told["batch"]["counts"] == {"TOTAL": 2, "WAITING": 0, "DONE": 1, "REJECTED": 1, "CANCELLED": 0}
    assert told["images"][0] == {
        "number": 1, "name": "a/cat.png", "output_name": "a/cat.png", "state": "DONE", "reason": None,
        "message": "", "width": 1000, "height": 500, "out_width": 2000, "out_height": 1000, "bytes_in": 1000,
        "bytes_out": 4000, "sha256": "cd" * 32, "seconds": 1.5, "model": "fast", "machine": "machine-1",
        "attempt": 1, "notes": [],
    }  # fmt: skip
    assert told["images"][1]["reason"] == "TRUNCATED"
    assert told["ignored"] == [{"name": "notes.txt", "why": "not an image by its name"}]
    assert [attempt["end"] for attempt in told["attempts"]] == ["MACHINE_LOST", "FINISHED"]


def test_the_manifest_is_the_same_for_the_same_story() -> None:
    assert manifest_json(story(done(1, "猫.png"))) == manifest_json(story(done(1, "猫.png")))
    assert "猫.png" in manifest_json(story(done(1, "猫.png"))).decode()
    assert json.loads(manifest_json(story())) == manifest(story())


def test_a_batch_that_never_started_has_no_seconds() -> None:
    waiting = replace(BATCH, state=BatchState.REGISTERED, started_at=None, finished_at=None)
    assert manifest(Story(waiting, ()))["batch"]["seconds"] is None
    assert Story(waiting, (done(1, "a.png"),)).megapixels_per_second is None


def test_speed_is_pixels_by_the_clock_and_not_told_of_a_later_round() -> None:
    first = story(done(1, "a.png"), done(2, "b.png"))
    assert first.megapixels_per_second == pytest.approx(4 / 20)
    assert replace(first, batch=replace(BATCH, round=2)).megapixels_per_second is None


def test_the_page_tells_counts_sizes_and_times() -> None:
    seen = Page(page(story(done(1, "a.png"), done(2, "b.png"), rejected(3, "c.png")), {}))
    assert "2 of 3 images enlarged ×2 in 20 s with the model fast." in seen.words
    assert "1 image was set aside." in seen.words
    assert "Speed 0.2 MP/s" in seen.words
    assert "Pixels 1 → 4 MP" in seen.words
    assert "Files 2 → 8 kB" in seen.words
    assert "from grandma" in seen.words
    assert "20 November 2026, 12:00:00 UTC" in seen.words
    assert "1 file was passed over notes.txt: not an image by its name" in seen.words
    assert "2 tries" in seen.words
    assert "machine lost" in seen.words


def test_the_page_tells_which_model_enlarged_which_image_where_there_were_several() -> None:
    images = [done(1, "a.png"), replace(done(2, "b.jpg"), model="fast-jpeg"), done(3, "c.png"), rejected(4, "d.jpg")]
    told = replace(story(*images), batch=replace(BATCH, model="auto-fast"))
    assert told.models == {"fast": 2, "fast-jpeg": 1}
    seen = Page(page(told, {}))
    assert "with the model auto-fast (fast for 2, fast-jpeg for 1)." in seen.words
    assert "b.jpg by fast-jpeg" in " ".join(seen.words.replace("b.jpgby", "b.jpg by").split())
    assert "by fast" not in Page(page(story(*images[:1]), {})).words


def test_the_page_of_a_later_round_gives_no_time_as_that_of_the_whole() -> None:
    told = story(done(1, "a.png"), rejected(2, "b.png"))
    seen = Page(page(replace(told, batch=replace(BATCH, name="my photos", round=2)), {}))
    assert "1 of 2 images enlarged ×2 with the model fast." in seen.words
    assert "Time of round 2 20 s" in seen.words
    assert "MP/s" not in seen.words
    assert "spotlift retry 'my photos' works off what is missing" in seen.words


@pytest.mark.parametrize(("number", "words"), [(1, "1 image enlarged"), (2, "All 2 images enlarged")])
def test_when_all_went_well_it_says_so(number: int, words: str) -> None:
    images = tuple(done(place, f"{place}.png") for place in range(1, number + 1))
    seen = Page(page(Story(replace(BATCH, state=BatchState.DONE), images), {}))
    assert words in seen.words
    assert "set aside." not in seen.words


def test_a_batch_that_failed_says_why() -> None:
    failed = replace(BATCH, state=BatchState.FAILED, message="'photos.zip' asks for a password.", started_at=None)
    seen = Page(page(Story(failed, ()), {}))
    assert "photos Failed" in seen.words
    assert "'photos.zip' asks for a password." in seen.words
    assert "no images to tell of" in seen.words


def test_what_was_set_aside_comes_first_with_what_to_do() -> None:
    html = page(story(done(1, "a.png"), rejected(2, "b.png")), {})
    assert html.index("It ends early.") < html.index("a.png")
    assert "Download or copy it again" in Page(html).words
    rows = html[html.index("<tbody>") :]
    assert rows.index("b.png") < rows.index("a.png")


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>.png", "\"onerror='x'.png", "a&amp;b.png", "</style><b>.png", "{{ 7*7 }}.png"],
)
def test_names_of_strangers_are_only_text(name: str) -> None:
    told = story(done(1, name), rejected(2, f"other/{name}"))
    told = replace(
        told,
        batch=replace(BATCH, name=name, note=name, message=name, model=name, state=BatchState.CANCELLED),
        images=(replace(told.images[0], notes=(name,), machine=name), replace(told.images[1], message=name)),
        ignored=(IgnoredLine(name, name),),
        attempts=(AttemptLine(1, 1, name, None, None, 0),),
    )
    preview = Preview(jpeg(20, 10), jpeg(40, 20))
    seen = Page(page(told, {1: preview}))
    plain = Page(page(story(done(1, "a.png"), rejected(2, "b.png")), {1: preview}))
    assert seen.text.count(name) >= 9
    assert {tag for tag, _ in seen.attributes} == {tag for tag, _ in plain.attributes}
    assert len(seen.all("script")) == 1
    assert not any(key.startswith("on") for _, attributes in seen.attributes for key in attributes)


@pytest.mark.parametrize("name", ["a b/c#1?.png", "100%.png", "javascript:alert(1).png", "übung/猫.png", "a:b.png"])
def test_links_lead_to_the_results_beside_the_page(name: str) -> None:
    seen = Page(page(story(done(1, name)), {}))
    (link,) = (link["href"] for link in seen.all("a") if link["href"].endswith(".png"))
    assert unquote(link) == name
    assert link.isascii()
    assert not set(link) & set(" #?:")


def test_only_results_are_linked_to() -> None:
    seen = Page(page(story(rejected(1, "a.png")), {}))
    assert {link["href"] for link in seen.all("a")} == {"#set-aside", "manifest.json"}


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = page(story(done(1, "a.png")), {1: Preview(jpeg(20, 10), jpeg(40, 20))})
    seen = Page(html)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in seen.all("img"))
    assert not seen.all("link")
    assert all("src" not in script for script in seen.all("script"))
    assert "http" not in html.replace("http-equiv", "")


def test_pictures_are_compared_with_a_slider_for_the_keyboard_too() -> None:
    seen = Page(page(story(done(1, "a.png")), {1: Preview(jpeg(20, 10), jpeg(40, 20))}))
    before, after = jpeg(20, 10), jpeg(40, 20)
    assert len(before) != len(after)
    (slider,) = (field for field in seen.all("input") if field.get("type") == "range")
    assert "a.png" in slider["aria-label"]
    assert [image["alt"] for image in seen.all("img")] == ["a.png, enhanced", "a.png, before"]


def test_a_small_picture_is_shown_large_enough() -> None:
    html = page(story(done(1, "a.png")), {1: Preview(jpeg(20, 10), jpeg(40, 20))})
    assert "--w:480px;--ratio:2.0000" in html


def test_of_many_pictures_a_spread_is_shown() -> None:
    images = tuple(done(number, f"{number}.png") for number in range(1, 101))
    html = page(Story(BATCH, images), dict.fromkeys(range(1, 101), Preview(jpeg(20, 10), jpeg(40, 20))))
    captions = [image["alt"] for image in Page(html).all("img") if image["alt"].endswith("enhanced")]
    assert len(captions) == PREVIEWS
    assert captions[0].startswith("1.png")
    assert captions[-1].startswith("96.png")
    assert "24 images are shown" in Page(html).words


def test_a_picture_that_is_none_is_left_out() -> None:
    told = story(done(1, "a.png"), rejected(2, "b.png"))
    preview = Preview(jpeg(20, 10), jpeg(40, 20))
    assert not Page(page(told, {1: Preview(b"", b"no picture"), 2: preview, 7: preview})).all("img")


def test_a_large_batch_stays_a_light_page() -> None:
    images = tuple(done(number, f"2026/summer holidays/IMG_{number:05}.jpg") for number in range(1, 2001))
    html = page(Story(replace(BATCH, state=BatchState.DONE), images), {})
    assert len(html.encode()) < 1_000_000
    assert html.count("<tr>") == 2000 + 2 + 1  # and the heads, and the one machine
    assert len(page(Story(BATCH, tuple(rejected(n, f"{n}.png") for n in range(1, 2001))), {}).encode()) < 1_000_000


@pytest.mark.parametrize("reason", list(RejectReason))
def test_every_reason_has_words_and_advice(reason: RejectReason) -> None:
    assert reason in words.REASONS
    assert words.advice(reason).endswith(".")


def test_every_state_and_end_has_words() -> None:
    assert words.BATCH_STATES.keys() == set(BatchState)
    assert words.IMAGE_STATES.keys() == set(ImageState)
    assert words.ATTEMPT_ENDS.keys() == set(AttemptEnd)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "–"), (0, "0 s"), (0.0421, "0.042 s"), (0.5, "0.5 s"), (9.94, "9.9 s"), (9.97, "10 s"), (59.4, "59 s"),
     (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3599.9, "1 h 0 min")],
)  # fmt: skip
def test_durations_read_well(seconds: float | None, told: str) -> None:
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("number", "told"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1449, "1.4 kB"), (123_456, "123 kB"),
     (4_300_000, "4.3 MB"),
     (999_600, "1 MB"), (2 * 10**13, "20 TB")],
)  # fmt: skip
def test_sizes_read_well(number: int | None, told: str) -> None:
    assert words.size(number) == told
