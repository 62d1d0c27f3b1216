"""How much a device likes to get at once: a CPU what fits into its caches, a GPU as much as its memory holds."""

import subprocess
from dataclasses import dataclass

from workers import runtime

BYTES_PER_PIXEL = 16_384
"""Memory of a GPU for each pixel of input that is in the network: a net of 64 channels needs an eighth of that."""
ASK_PATIENCE = 10.0


@dataclass(frozen=True)
class Portion:
    """What the network gets at once.

    tile:         pixels a side of the largest tile, without its margin
    batch_pixels: pixels of input, with margins, together; at least one tile
    steps:        height and width of what is computed, with margins, are multiples of these
    """

    tile: int
    batch_pixels: int
    steps: tuple[int, int]


#: Measured with `fast` in bfloat16: widths that are no multiple of 8 cost up to 40 % more, calls of a megapixel 15 %
#: more; another shape costs 2 ms once.
OF_A_CPU = Portion(tile=384, batch_pixels=170_000, steps=(1, 8))


def of_a_gpu(memory: int) -> Portion:
    """For a GPU with so many bytes of memory: few shapes, as XLA compiles the network for each.

    What it does not hold after all is tried again in smaller tiles.
    """
    pixels = min(max(memory // BYTES_PER_PIXEL, 330_000), 8_000_000)
    return Portion(tile=768 if pixels >= 700_000 else 384, batch_pixels=pixels, steps=(64, 64))


def portion() -> Portion:
    """For the device that TensorFlow uses here."""
    gpus = runtime.tensorflow().config.list_physical_devices("GPU")
    return of_a_gpu(least_memory(_asked())) if gpus else OF_A_CPU


def least_memory(told: str) -> int:
    """Bytes of the smallest GPU, from lines with mebibytes; 0 if there are none."""
    sizes = [int(line) << 20 for line in told.split() if line.isdecimal()]
    return min(sizes, default=0)


def _asked() -> str:
    """What the driver says of the memory of its GPUs; empty where it says nothing."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ASK_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
