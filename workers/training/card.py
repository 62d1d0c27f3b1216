"""Writes the card of a shipped model: what it is, what it has learnt from, how, and how good it is.

`python -m workers.training.card fast-x2 --bench DIR --curve RUN/curve.jsonl …` writes `workers/weights/fast-x2.md`.
"""

import argparse
import hashlib
import itertools
import json
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from workers.catalogue import WEIGHTS
from workers.training import bicubic
from workers.training.recipe import Recipe, TrainingError, read_recipe, shipped_recipes
from workers.training.score import Enlarger, Pictures, score_folder

#: Folders of benchmark pictures, and what is in them.
BENCHMARKS = {"Set5": "Set5", "Kodak": "Kodak, 24 photos", "Art10": "Art10, 10 drawings"}

#: The quality at which papers compress the inputs of models for JPEGs.
JPEG_QUALITY = 75


def card(weights: Path, bench: Path, curves: Iterable[Path], *, day: str) -> str:
    """The Markdown of the card; scores the model on the benchmarks in `bench`, which takes a minute.

    `curves` are those of its training and, before them, of what it began with. Raises TrainingError when a benchmark
    or a curve cannot be read.
    """
    from workers.model import load

    recipe = read_recipe(weights.stem)
    upscaler = load(str(weights))
    lasted = [_last(curve) for curve in curves]
    checksum = hashlib.sha256(weights.read_bytes()).hexdigest()
    paragraphs = [
        f"**What it is.** {_sentence(recipe)} {_count(recipe):,} weights, {weights.stat().st_size / 1e6:.2f} MB, made "
        f"only of Keras's own layers: {recipe.depth} hidden layers of {recipe.width} channels; a tile needs "
        f"{upscaler.halo} pixels of context. SHA-256 `{checksum[:16]}…`.",
        f"**What it has learnt from.** 750 crops of 384×384 pixels: 348 photos and 402 drawings under CC0 or CC BY "
        f"4.0, {2 * recipe.held_out} of them held out{_drawn(recipe)}. Attribution: [ATTRIBUTION.md](ATTRIBUTION.md), "
        f"which must travel with the weights. The weights themselves are under this project's licence.",
        f"**How.** By the recipe [`{recipe.name}.toml`](../training/{recipe.name}.toml){_began(recipe)}. Two CPU "
        f"cores, busy with other work too: {_trained(lasted)}.",
        f"**How good.** Mean luma PSNR in dB, measured on {day}: {_protocol(recipe)}",
        "\n".join(
            (f"| pictures | bicubic | {recipe.name} |", "| --- | --- | --- |", *_scores(upscaler, bench, recipe))
        ),
        "None of these was trained on. How fast it is, and how others do: [benchmarks](../../docs/benchmarks.md).",
        f"**What it does not do.** {_limits(recipe)}",
    ]
    wrapped = (
        each if each.startswith("|") else textwrap.fill(each, 120, break_on_hyphens=False) for each in paragraphs
    )
    return "\n\n".join((f"# Model card: {recipe.name}", *wrapped)) + "\n"


def _sentence(recipe: Recipe) -> str:
    tier = recipe.name.rsplit("-x", 1)[0]
    kind = "compressed photos and drawings" if recipe.jpeg_quality else "photos and drawings alike"
    return f"A small convolutional network that enlarges pictures ×{recipe.scale}, {kind}: `--model {tier}`."


def _count(recipe: Recipe) -> int:
    """Weights of the exported network: kernels of 3×3 and biases."""
    channels = [3, *[recipe.width] * recipe.depth, 3 * recipe.scale**2]
    return sum(9 * taken * given + given for taken, given in itertools.pairwise(channels))


def _drawn(recipe: Recipe) -> str:
    if not recipe.drawn_share:
        return ""
    return f"; and {recipe.drawn_share:.1%} of the patches from pictures that `workers/training/drawn.py` makes"


def _began(recipe: Recipe) -> str:
    return f", which begins with the weights of `{recipe.begins_with}`" if recipe.begins_with else ""


def _last(curve: Path) -> Mapping[str, float]:
    try:
        last: Mapping[str, float] = json.loads(curve.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError) as error:
        raise TrainingError(f"The curve {curve} cannot be read: {error}.") from error
    return last


def _trained(lasted: Sequence[Mapping[str, float]]) -> str:
    return ", then ".join(f"{int(each['step']):,} steps in {each['seconds'] / 60:.0f} minutes" for each in lasted)


def _protocol(recipe: Recipe) -> str:
    compressed = f", and saved as JPEG at quality {JPEG_QUALITY}" if recipe.jpeg_quality else ""
    return (
        f"shrunk by MATLAB's bicubic filter{compressed}, all pictures rounded to 8 bits, luma rounded as `rgb2ycbcr` "
        f"does, {recipe.scale} pixels of border cut."
    )


def _scores(model: Enlarger, bench: Path, recipe: Recipe) -> Iterable[str]:
    quality = JPEG_QUALITY if recipe.jpeg_quality else None

    def by_bicubic(pictures: Pictures) -> Pictures:
        large = bicubic.enlarge(bicubic.to_8_bits(pictures[0] * 255), recipe.scale)
        return large[None].astype(np.float32) / np.float32(255)

    for folder, title in BENCHMARKS.items():
        theirs, ours = (
            float(np.mean(list(score_folder(way, bench / folder, recipe.scale, quality).values())))
            for way in (by_bicubic, model)
        )
        yield f"| {title} | {theirs:.2f} | {ours:.2f} |"


def _limits(recipe: Recipe) -> str:
    if recipe.jpeg_quality:
        low, high = min(recipe.jpeg_quality), max(recipe.jpeg_quality)
        return (
            f"It smooths away the marks of JPEG from quality {low} to {high}, and may take fine texture in a clean "
            f"picture for such marks. It does not sharpen what was out of focus, and invents no texture."
        )
    return (
        "It learned from clean pictures made small with one filter: it removes no noise and no JPEG blocks, does not "
        "sharpen what was out of focus, and invents no texture."
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the card of a shipped model beside its weights; 2 when it cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m workers.training.card", description=__doc__)
    parser.add_argument("name", choices=list(shipped_recipes()))
    parser.add_argument("--bench", type=Path, required=True, help="folder with Set5, Kodak and Art10")
    parser.add_argument("--curve", type=Path, nargs="+", required=True, help="curve.jsonl of each training, in order")
    wish = parser.parse_args(arguments)
    weights = WEIGHTS / f"{wish.name}.keras"
    try:
        text = card(weights, wish.bench, wish.curve, day=time.strftime("%Y-%m-%d"))
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    weights.with_suffix(".md").write_text(text, encoding="utf-8")
    print(weights.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
