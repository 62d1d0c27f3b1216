"""Two hundred mixed images from file to file, against the bare model on arrays that lie in memory, in one process.

The bare loop is the model at its best and nothing else: the same network in the same precision, called on each whole
image as float32, without tiles, margins, files or threads around it. Of the product there are both ways: the folder
of `spotlift enhance`, and the chunk of a machine, with its receipts and its store.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image

from infra.storage import LocalStore
from infra.storage.shelf import Shelf
from tests.bench.table import show
from workers.choice import load_wished
from workers.chunk import work_off
from workers.folder import enhance_all, pairs
from workers.job import ChunkJob, ImageJob

BENCH = Path(__file__).parents[2].parent / "shared" / "data" / "bench"
FOLDERS = ("Kodak", "Art10")
IMAGES = 200
REPEATS = 5
LEAST, AIM = 0.92, 0.97
SIDES = (96, 144, 200, 256, 320, 384, 512)
"""A crop is at most so wide; its height is between half of that and all of it."""
WRITTEN: dict[str, dict[str, object]] = {
    "png": {},
    "jpg": {"quality": 90},
    "webp": {"quality": 90},
}
MODEL = "fast"
LARGE_SIDE = 10_000
MOST_MEMORY = 2000
Floats = NDArray[np.float32]


def measure() -> None:
    """Print the speed of both ways against the bare loop, and the memory that 100 megapixels take."""
    originals = [path for name in FOLDERS for path in sorted((BENCH / name).glob("*.png"))]
    if not originals:
        print(f"bench 'pipeline' is skipped: there are no photographs and drawings in {BENCH}")
        return
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as name:
        root = Path(name)
        arrays = mixed(originals, root / "in")
        _speed(root, arrays)
        _large(root)


def mixed(originals: list[Path], folder: Path, count: int = IMAGES) -> list[Floats]:
    """Save crops of the pictures, of several sizes and in several formats; each as float32 (1, h, w, 3) in [0, 1]."""
    folder.mkdir()
    random = np.random.default_rng(4)
    arrays = []
    for number in range(count):
        with Image.open(originals[number % len(originals)]) as opened:
            picture = opened.convert("RGB")
        if random.random() < 0.5:  # as somebody has it who made it smaller
            picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BICUBIC)
        width = min(int(random.choice(SIDES)), picture.width)
        height = min(int(width * random.uniform(0.5, 1.0)), picture.height)
        left, top = random.integers(picture.width - width + 1), random.integers(picture.height - height + 1)
        picture = picture.crop((left, top, left + width, top + height))
        suffix = tuple(WRITTEN)[number % len(WRITTEN)]
        path = folder / f"{number:03d}.{suffix}"
        picture.save(path, **WRITTEN[suffix])
        with Image.open(path) as written:
            arrays.append(np.asarray(written, np.float32)[None] / 255)
    return arrays


def _speed(root: Path, arrays: list[Floats]) -> None:
    upscaler = load_wished(MODEL).plain
    images = pairs(root / "in", root)

    def bare(_: int) -> None:
        for array in arrays:
            upscaler(array)

    def folder(turn: int) -> None:
        ended = list(enhance_all(pairs(root / "in", root / f"folder-{turn}"), upscaler))
        assert all(one.enhanced for one in ended)

    def chunk(turn: int) -> None:
        result = work_off(_job(root, turn, [pair.name for pair in images], upscaler.checksum), "bench", lambda _: None)
        assert all(outcome.done for outcome in result.outcomes)

    ways: dict[str, Callable[[int], None]] = {
        "bare model, whole images": bare,
        "product, a folder": folder,
        "product, a chunk": chunk,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, REPEATS):  # the first round sets up the network for each shape, and does not count
        for name, way in ways.items():
            began, computed = time.perf_counter(), time.process_time()
            way(turn)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
                busy[name].append(time.process_time() - computed)
    [base, *_], [base_busy, *_] = ([median(each) for each in kind.values()] for kind in (seconds, busy))
    pixels = upscaler.scale**2 * sum(array[0, ..., 0].size for array in arrays) / 1e6
    rows = [
        (
            name,
            pixels / median(took),
            base / median(took),
            base_busy / median(busy[name]),
            f"{min(took):.2f} to {max(took):.2f}",
        )
        for name, took in seconds.items()
    ]
    show(
        f"{len(arrays)} mixed images, {pixels:.0f} megapixels of output, {MODEL} in {upscaler.precision}, "
        f"{os.cpu_count()} CPUs, medians of {REPEATS}",
        ("", "MP/s", f"speed, bare = 1 (must {LEAST}, aim {AIM})", "the same by CPU time", "seconds"),
        rows,
    )
    print(f"peak memory of all this: {_peak_of_this_program():.0f} MB\n")


def _job(root: Path, turn: int, names: list[str], checksum: str) -> ChunkJob:
    for name in ("out", "work"):
        (root / f"{name}-{turn}").mkdir()
    images = tuple(
        ImageJob(number, name, f"batch/{name}", f"receipts/{number}.json") for number, name in enumerate(names)
    )
    return ChunkJob(
        batch="batch", attempt=1, topic="news", model=MODEL, model_name=MODEL, model_checksum=checksum, scale=2,
        images=images, inputs=Shelf(LocalStore(root / "in")), outputs=Shelf(LocalStore(root / f"out-{turn}")),
        work=Shelf(LocalStore(root / f"work-{turn}")),
    )  # fmt: skip


def _large(root: Path) -> None:
    """Enlarge a PNG of 100 megapixels in a process of its own, and print what that took at most."""
    source = root / "large.png"
    ramp = pyvips.Image.xyz(LARGE_SIDE, LARGE_SIDE)
    picture = ((ramp[0] + ramp[1]) % 256).bandjoin([(ramp[0] // 7) % 256, (ramp[1] // 11) % 256]).cast("uchar")
    picture.copy(interpretation="srgb").pngsave(str(source), compression=1)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.pipeline", str(source), str(root / "larger.png")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    took = time.perf_counter() - began
    show(
        f"a PNG of {LARGE_SIDE} × {LARGE_SIDE} pixels, in a process of its own",
        ("", f"MB (must be below {MOST_MEMORY})", "seconds"),
        [("peak memory, TensorFlow included", done.stdout.strip(), took)],
    )


def _enlarge_alone(source: Path, target: Path) -> None:
    from workers.enhance import enhance_file

    enhance_file(source, target, load_wished(MODEL).plain)
    print(round(_peak_of_this_program()))


def _peak_of_this_program() -> float:
    """Megabytes. What getrusage tells of a child begins with the size of its parent; Linux knows better."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    lines = status.read_text().splitlines()
    [kibibytes] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return kibibytes * 1.024 / 1000


if __name__ == "__main__":
    _enlarge_alone(Path(sys.argv[1]), Path(sys.argv[2]))
