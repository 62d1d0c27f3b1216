"""The report page: one HTML file that needs nothing else, so that it opens from a folder, a mail or a bucket."""

import base64
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import imagesize
from jinja2 import Environment, PackageLoader, StrictUndefined

from infra.report import words
from infra.report.lines import ImageLine, Preview, Story
from infra.states import ImageState

PREVIEWS: Final = 24
"""Before-and-after pictures in one page; they are most of its bytes."""
_SHOWN_WIDTH: Final = 480
"""CSS pixels below which a small picture is enlarged by whole numbers."""


@dataclass(frozen=True)
class Comparison:
    """A before-and-after picture as the template needs it."""

    image: ImageLine
    before: str  # data URI
    after: str
    width: int  # CSS pixels
    height: int


@dataclass(frozen=True)
class MachineLine:
    """What one machine did for the batch."""

    name: str
    images: int
    megapixels: float  # of results
    seconds: float
    tries: int


def page(story: Story, previews: Mapping[int, Preview]) -> str:
    """Return the report page. `previews` are by image number; of more than PREVIEWS a spread is shown.

    The page is meant to lie beside the results, which it links to by their relative names, and the manifest.
    """
    rejected = [image for image in story.images if image.state == ImageState.REJECTED]
    return (
        _environment()
        .get_template("report.html")
        .render(
            story=story,
            batch=story.batch,
            counts=story.counts,
            rejected=rejected,
            images=rejected + [image for image in story.images if image.state != ImageState.REJECTED],
            comparisons=_comparisons(story.images, previews),
            machines=_machines(story),
            bytes_in=sum(i.bytes_in or 0 for i in story.images if i.state == ImageState.DONE),
            bytes_out=sum(i.bytes_out or 0 for i in story.images),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("infra.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "advice": words.advice,
        "attempt_end": lambda end: words.ATTEMPT_ENDS.get(end, "open"),
        "batch_state": lambda state: words.BATCH_STATES.get(state, state),
        "count": words.count,
        "duration": words.duration,
        "figure": words.figure,
        "href": lambda name: quote(name, safe="/"),
        "image_state": lambda state: words.IMAGE_STATES.get(state, state),
        "reason": words.reason_words,
        "shell": shlex.quote,
        "size": words.size,
    }
    environment.globals |= {"pixels": words.pixels, "sizes": words.sizes}
    return environment


def _comparisons(images: Sequence[ImageLine], previews: Mapping[int, Preview]) -> list[Comparison]:
    shown = [image for image in images if image.number in previews and image.state == ImageState.DONE]
    if len(shown) > PREVIEWS:
        shown = [shown[place * len(shown) // PREVIEWS] for place in range(PREVIEWS)]
    compared = (_comparison(image, previews[image.number]) for image in shown)
    return [comparison for comparison in compared if comparison]


def _comparison(image: ImageLine, preview: Preview) -> Comparison | None:
    """Return what the template needs, or None for a picture that no browser could show either."""
    width, height = imagesize.get(io.BytesIO(preview.after))
    if width <= 0 or height <= 0:
        return None
    times = max(1, _SHOWN_WIDTH // max(width, height))
    return Comparison(image, _data_uri(preview.before), _data_uri(preview.after), width * times, height * times)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _machines(story: Story) -> list[MachineLine]:
    """Sum up what each machine did, those that only lost a try included, by name."""
    names = {image.machine for image in story.images} | {attempt.machine for attempt in story.attempts}
    return [_machine(name, story) for name in sorted(name for name in names if name)]


def _machine(name: str, story: Story) -> MachineLine:
    own = [image for image in story.images if image.machine == name]
    return MachineLine(
        name=name,
        images=sum(image.state == ImageState.DONE for image in own),
        megapixels=sum((image.out_width or 0) * (image.out_height or 0) for image in own) / 1e6,
        seconds=sum(image.seconds or 0 for image in own),
        tries=sum(attempt.machine == name for attempt in story.attempts),
    )
