"""A target is complete or not there; what fails on the way leaves the folder as it was."""

import errno
import hashlib
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.enhance import Limits, enhance_file


@pytest.fixture
def source(tmp_path: Path, noise: NDArray[np.uint8]) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(noise[..., :3].repeat(12, axis=0).repeat(12, axis=1)).save(path)
    return path


@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_a_network_that_fails_leaves_nothing(tmp_path: Path, source: Path, in_memory: int) -> None:
    class Failing:
        scale, halo = 2, 1

        def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            raise MemoryError(f"{len(tiles)} tiles are too many for the GPU")

    (tmp_path / "out.png").write_bytes(b"as it was")
    with pytest.raises(MemoryError):
        enhance_file(source, tmp_path / "out.png", Failing(), Limits(in_memory=in_memory))
    assert (tmp_path / "out.png").read_bytes() == b"as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"in.png", "out.png"}


def test_an_image_is_begun_again_with_smaller_tiles_when_memory_runs_out(
    tmp_path: Path, source: Path, seeing: Any
) -> None:
    roomy = seeing(2, 3)

    class Cramped:
        scale, halo = 2, 3

        def __call__(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            if tiles[..., 0].size > 200 * 200:
                raise MemoryError(f"{len(tiles)} tiles are too many for the GPU")
            result: NDArray[np.float32] = roomy(tiles)
            return result

    enhance_file(source, tmp_path / "roomy.png", roomy)
    enhance_file(source, tmp_path / "cramped.png", Cramped())
    one, other = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("roomy.png", "cramped.png"))
    assert np.abs(one - other).max() <= 1


def test_who_watches_the_progress_may_end_the_work(tmp_path: Path, source: Path, nearest: Any) -> None:
    def stop(done: int, rows: int) -> None:
        raise InterruptedError(f"{done} of {rows}")

    with pytest.raises(InterruptedError):
        enhance_file(source, tmp_path / "out.png", nearest, on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "gif"])
@pytest.mark.parametrize("in_memory", [0, 1 << 30])
def test_a_full_disk_is_an_error_of_the_disk(tmp_path: Path, source: Path, suffix: str, in_memory: int) -> None:
    """A process that may write no file beyond 5 kB meets the same error path as a full disk does."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from workers.enhance import Limits, enhance_file\n"
        "class Nearest:\n"
        "    scale, halo = 2, 0\n"
        "    def __call__(self, tiles): return tiles.repeat(2, axis=1).repeat(2, axis=2)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        "try: enhance_file(Path(sys.argv[1]), Path(sys.argv[2]), Nearest(), Limits(in_memory=int(sys.argv[3])))\n"
        "except OSError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path / f"out.{suffix}"), str(in_memory)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert (done.stdout.strip(), done.stderr) == (str(errno.EFBIG), "")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_two_at_once_on_one_target_both_end_well(tmp_path: Path, source: Path, nearest: Any) -> None:
    target, results = tmp_path / "out.png", []
    threads = [threading.Thread(target=lambda: results.append(enhance_file(source, target, nearest))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result.sha256 for result in results} == {hashlib.sha256(target.read_bytes()).hexdigest()}
    assert len(results) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"in.png", "out.png"}


def test_the_result_is_told_as_it_lies_there(tmp_path: Path, source: Path, nearest: Any) -> None:
    result = enhance_file(source, tmp_path / "out.tif", nearest)
    content = (tmp_path / "out.tif").read_bytes()
    assert (result.bytes_out, result.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert result.bytes_in == source.stat().st_size
    assert result.seconds > 0


def test_the_result_may_be_read_by_whom_other_files_may(tmp_path: Path, source: Path, nearest: Any) -> None:
    enhance_file(source, tmp_path / "out.png", nearest)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == stat.S_IMODE(source.stat().st_mode)


def test_a_picture_may_take_its_own_place(source: Path, nearest: Any) -> None:
    enhance_file(source, source, nearest)
    assert Image.open(source).size == (52 * 24, 40 * 24)


def test_no_file_stays_open(tmp_path: Path, source: Path, nearest: Any) -> None:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux lists the open files of a process")
    for suffix in ("png", "tif", "bmp"):
        enhance_file(source, tmp_path / f"out.{suffix}", nearest, Limits(in_memory=0))
    opened = [str(entry.readlink()) for entry in folder.iterdir() if entry.is_symlink()]
    assert [name for name in opened if name.startswith(str(tmp_path))] == []
