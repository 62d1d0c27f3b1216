"""Measure what the product adds to the bare model, and print ratios: `make bench`, or `python -m tests.bench NAME`.

Seconds depend on the computer and on what else it does; the ratios are taken in one run and say more.
"""

import sys

from tests.bench import folder, keeper, preemptions, small_images

BENCHES = {
    "folder": folder.measure,
    "small-images": small_images.measure,
    "keeper": keeper.measure,
    "preemptions": preemptions.measure,
}


def main(names: list[str]) -> int:
    """Run the named benches, or all."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no bench is called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
        return 2
    for name in names or BENCHES:
        BENCHES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
