"""Our models beside other upscalers: quality, speed and memory on the same pictures, one process after the other."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import quality_pages, quality_plot
from tests.bench.quality_peers import THREADS, WEIGHTS, Contender, contenders
from tests.bench.quality_run import BENCH, SETS, Result
from tests.bench.table import show

WITHIN = 1800.0
ROOT = Path(__file__).parents[2]


def measure(weights: Path = WEIGHTS, opencv_models: Path | None = None, write: Path | None = None) -> None:
    """Print the tables; `write`: a folder whose benchmarks.md and images/ are brought up to date."""
    missing = [name for name in SETS if not any((BENCH / name).glob("*.png"))]
    if missing:
        print(f"bench 'quality' is skipped: the pictures of {', '.join(missing)} are not in {BENCH}")
        return
    folders = [str(folder.absolute()) for folder in (weights, opencv_models) if folder is not None]
    results = [_measured(contender, folders) for contender in contenders(weights, opencv_models)]
    for page in quality_pages.pages(results):
        show(page.title, page.head, page.cells())
    for sentence in quality_pages.absent(results):
        print(sentence)
    if write is not None:
        _write(write, results)


def _measured(contender: Contender, folders: Sequence[str]) -> Result:
    """What the contender does in a process of its own; one that fails is left out, with its last line."""
    print(f"  {contender.key} …", flush=True)
    with tempfile.TemporaryDirectory(prefix="spotlift-bench-") as name:
        result = Path(name) / "result.json"
        command = [sys.executable, "-m", "tests.bench.quality_run", contender.key, str(result)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            ran = subprocess.run(
                [*command, *folders], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WITHIN
            )
        except subprocess.TimeoutExpired:
            return _failed(contender, f"it took more than {WITHIN:.0f} seconds")
        if ran.returncode or not result.exists():
            said = ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"]
            return _failed(contender, said[-1])
        return Result.read(result)


def _failed(contender: Contender, why: str) -> Result:
    return Result(contender.name, contender.kind, contender.scale, contender.for_jpeg, left_out=why.rstrip("."))


def _write(folder: Path, results: Sequence[Result]) -> None:
    tables = quality_pages.pages(results)
    drawn = sorted({result.scale for page in tables for result, scores in page.rows if scores is result.clean})
    load = f"load average {os.getloadavg()[1]:.1f}"
    parts = [f"Measured on {_processor()}, {THREADS} threads, {load}.", *(page.markdown() for page in tables)]
    for scale in drawn:
        image = Path("images") / f"quality-x{scale}.svg"
        (folder / image).parent.mkdir(exist_ok=True)
        (folder / image).write_text(quality_plot.drawing(results, scale))
        parts.append(f"![Luma PSNR against megapixels per second, ×{scale}]({image})")
    parts += quality_pages.absent(results)
    page = folder / "benchmarks.md"
    page.write_text(quality_pages.inserted(page.read_text(), "\n\n".join(parts)))
    print(f"{page} and its drawings are up to date")


def _processor() -> str:
    """The processor's own name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
