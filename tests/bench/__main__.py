"""Measure our models beside others, and what the product adds to them: `make bench`, or `python -m tests.bench NAME`.

Seconds depend on the computer and on what else it does; the ratios are taken in one run and say more.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench import folder, keeper, pipeline, preemptions, quality, small_images
from tests.bench.quality_peers import WEIGHTS

BENCHES: dict[str, Callable[[], None]] = {
    "quality": quality.measure,
    "folder": folder.measure,
    "pipeline": pipeline.measure,
    "small-images": small_images.measure,
    "keeper": keeper.measure,
    "preemptions": preemptions.measure,
}


def main(arguments: Sequence[str]) -> int:
    """Run the named benches, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, and print ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(BENCHES)}; or all")
    bench = parser.add_argument_group("quality")
    bench.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FOLDER", help="our models, as fast-x2.keras")
    bench.add_argument("--opencv-models", type=Path, metavar="FOLDER", help="OpenCV's models, as FSRCNN_x2.pb")
    bench.add_argument("--write", type=Path, metavar="DOCS", help="bring DOCS/benchmarks.md up to date")
    wish = parser.parse_args(arguments)
    unknown = [name for name in wish.names if name not in BENCHES]
    if unknown:
        print(f"no bench is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
        return 2
    benches: dict[str, Callable[[], None]] = {
        **BENCHES,
        "quality": partial(quality.measure, wish.weights, wish.opencv_models, wish.write),
    }
    for name in wish.names or benches:
        benches[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
