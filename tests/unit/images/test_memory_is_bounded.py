"""The memory that an image takes depends on its width at most: 100 megapixels fit beside a network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

_SCRIPT = """
import sys
from pathlib import Path
from workers.enhance import enhance_file

class Nearest:
    scale, halo = 2, 9
    def __call__(self, tiles):
        return tiles.repeat(2, axis=1).repeat(2, axis=2)

result = enhance_file(Path(sys.argv[1]), Path(sys.argv[2]), Nearest())
assert (result.out_width, result.out_height) == (20_000, 20_000)
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's peak memory")
@pytest.mark.parametrize(("before", "after"), [("png", "png"), ("jpg", "jpg")])
def test_a_hundred_megapixels_take_less_than_600_megabytes(tmp_path: Path, before: str, after: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (125, 125, 3), dtype=np.uint8)
    picture = pyvips.Image.new_from_array(noise).resize(4).replicate(20, 20)
    picture.write_to_file(str(tmp_path / f"in.{before}"))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / f"in.{before}"), str(tmp_path / f"out.{after}")],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=Path(__file__).parents[3],
    )
    assert done.stderr == ""
    assert int(done.stdout) < 600
