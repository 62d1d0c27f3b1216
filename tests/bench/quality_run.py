"""Measures one contender, in a process of its own, so that its peak of memory is nobody else's.

python -m tests.bench.quality_run KEY RESULT.json WEIGHTS [OPENCV_MODELS]
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from PIL import Image

from tests.bench.quality_peers import THREADS, Contender, Kind, LeftOut, Way, contenders

BENCH = Path(__file__).parents[2].parent / "shared" / "data" / "bench"
SETS = ("Set5", "Art10", "Kodak")
JPEG_SETS = ("Set5", "Art10")
#: The picture that speed is measured on, and its size.
SUBJECT, WIDTH, HEIGHT = BENCH / "Art10" / "12_gdq_bg_garden.png", 640, 360
JPEG_QUALITY = 75
REPEATS, SECONDS = 5, 4.0


@dataclass(frozen=True)
class Score:
    """Means over a set of pictures."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Result:
    """What a contender did. `clean` and `jpeg` are by name of the set; `left_out` says why there is nothing else."""

    name: str
    kind: Kind
    scale: int
    for_jpeg: bool
    how: str = ""
    #: Megapixels of output a second: the median of several times.
    speed: float = 0.0
    #: Seconds of processor time for a megapixel of output, of all threads together: hardly changed by other work.
    cpu: float = 0.0
    #: 10^6 bytes at most while it loaded and enlarged, the interpreter included.
    megabytes: float = 0.0
    clean: dict[str, Score] = field(default_factory=dict)
    jpeg: dict[str, Score] = field(default_factory=dict)
    left_out: str = ""

    @classmethod
    def read(cls, path: Path) -> "Result":
        """What another process has written."""
        found: dict[str, Any] = json.loads(path.read_text())
        for kind in ("clean", "jpeg"):
            found[kind] = {name: Score(**score) for name, score in found[kind].items()}
        return cls(**{**found, "kind": Kind(found["kind"])})

    def write(self, path: Path) -> None:
        """Leave it for the process that asked."""
        path.write_text(json.dumps(asdict(self)))


def measure(contender: Contender) -> Result:
    """Time it first, so that what scoring needs is not in its memory; then score it."""
    told = (contender.name, contender.kind, contender.scale, contender.for_jpeg)
    try:
        way = contender.make()
    except LeftOut as why:
        return Result(*told, left_out=str(why))
    speed, cpu = _speed(way, contender.scale)
    megabytes = _peak_of_memory()
    clean = {} if contender.for_jpeg else {name: _score(way, name, contender.scale) for name in SETS}
    jpeg = {name: _score(way, name, 2, JPEG_QUALITY) for name in JPEG_SETS} if contender.scale == 2 else {}
    return Result(*told, way.how, speed, cpu, megabytes, clean, jpeg)


def _speed(way: Way, scale: int) -> tuple[float, float]:
    """Megapixels a second, and seconds of processor time for a megapixel; medians."""
    with Image.open(SUBJECT) as image:
        taken = way.enter(np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT))))
    way.enlarge(taken)
    way.enlarge(taken)
    took: list[float] = []
    worked: list[float] = []
    while len(took) < REPEATS or sum(took) < SECONDS:
        began, work_began = time.perf_counter(), time.process_time()
        way.enlarge(taken)
        took.append(time.perf_counter() - began)
        worked.append(time.process_time() - work_began)
    megapixels = WIDTH * HEIGHT * scale**2 / 1e6
    return megapixels / median(took), median(worked) / megapixels


def _peak_of_memory() -> float:
    """The most that this process has held, in 10^6 bytes; getrusage would tell its parent's where that was more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [kilobytes] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kilobytes * 1024 / 1e6


def _score(way: Way, name: str, scale: int, jpeg_quality: int | None = None) -> Score:
    from workers.training import bicubic
    from workers.training.crops import compressed, read_picture
    from workers.training.score import luma_psnr, luma_ssim

    psnr, ssim = [], []
    for path in sorted((BENCH / name).glob("*.png")):
        original = read_picture(path)
        height, width = (side - side % scale for side in original.shape[:2])
        original = original[:height, :width]
        small = np.ascontiguousarray(bicubic.shrink(original, scale))
        if jpeg_quality is not None:
            small = compressed(small, jpeg_quality, halved_colour=True)
        enlarged = way.leave(way.enlarge(way.enter(small)))
        psnr.append(luma_psnr(enlarged, original, border=scale))
        ssim.append(luma_ssim(enlarged, original, border=scale))
    return Score(fmean(psnr), fmean(ssim))


def main(key: str, result: str, *folders: str) -> None:
    """Measure the contender that is called so, on two processors; the folders as `contenders` takes them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    known = contenders(*map(Path, folders))
    [contender] = [each for each in known if each.key == key]
    measure(contender).write(Path(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
