"""PngSuite, Willem van Schaik's collection of every kind of PNG:
the good ones come out right, the broken ones are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.enhance import enhance_file
from workers.rejects import Rejected, RejectReason

_BROKEN = {
    "xs1n0g01": RejectReason.DAMAGED,  # signature with one bit lost
    "xs2n0g01": RejectReason.DAMAGED,  # signature with a wrong letter
    "xs4n0g01": RejectReason.DAMAGED,  # signature in lower case
    "xs7n0g01": RejectReason.DAMAGED,  # signature with a space
    "xcrn0g04": RejectReason.DAMAGED,  # line feeds that a transfer in text mode added
    "xlfn0g04": RejectReason.DAMAGED,  # and that it took away
    "xhdn0g08": RejectReason.DAMAGED,  # wrong checksum of the header
    "xcsn0g01": RejectReason.DAMAGED,  # wrong checksum of the pixels
    "xdtn0g01": RejectReason.DAMAGED,  # no pixels
    "xc1n0g08": RejectReason.DAMAGED,  # colour type 1
    "xc9n2c08": RejectReason.DAMAGED,  # colour type 9
    "xd0n2c08": RejectReason.DAMAGED,  # 0 bits per sample
    "xd3n2c08": RejectReason.DAMAGED,  # 3 bits per sample
    "xd9n2c08": RejectReason.DAMAGED,  # 99 bits per sample
}
# In these the lightest grey is the invisible one; Pillow takes another for it, or cannot tell at 16 bits.
_WHITE_IS_INVISIBLE = {"tbbn0g04", "tbwn0g16"}


def _expected(path: Path, mode: str) -> NDArray[Any]:
    with Image.open(path) as image:
        if path.stem in _WHITE_IS_INVISIBLE:
            levels = np.asarray(image)
            sixteen = levels.dtype != np.uint8
            grey = levels >> 8 if sixteen else levels  # as Pillow reads the result, at 16 bits the upper 8
            return np.stack([grey, grey, grey, np.where(levels == (65535 if sixteen else 255), 0, 255)], axis=-1)
        return np.asarray(image.convert(mode))


def test_every_good_file_comes_out_right(tmp_path: Path, nearest: Any, shared: Path) -> None:
    files = [path for path in sorted((shared / "data/odd/pngsuite").glob("*.png")) if path.name[0] != "x"]
    assert len(files) > 150
    wrong = []
    for path in files:
        enhance_file(path, tmp_path / "out.png", nearest)
        with Image.open(tmp_path / "out.png") as out:
            sixteen = out.mode.startswith("I;16") and path.stem not in _WHITE_IS_INVISIBLE
            if sixteen:
                before, after = np.asarray(Image.open(path)), np.asarray(out)
            else:
                before, after = _expected(path, "RGBA"), np.asarray(out.convert("RGBA"))
        before = before.repeat(2, axis=0).repeat(2, axis=1).astype(int)
        visible = np.ones(before.shape[:2], bool) if sixteen else before[..., 3] > 0
        same = before.shape == after.shape and (before == after)[visible].all()
        if not same or (not sixteen and not (before[..., 3] == after[..., 3]).all()):
            wrong.append(path.name)
    assert wrong == []


@pytest.mark.parametrize("name", sorted(_BROKEN))
@pytest.mark.timeout(10)
def test_a_broken_file_is_refused_with_a_reason(tmp_path: Path, nearest: Any, shared: Path, name: str) -> None:
    with pytest.raises(Rejected) as refusal:
        enhance_file(shared / "data/odd/pngsuite" / f"{name}.png", tmp_path / "out.png", nearest)
    assert refusal.value.reason is _BROKEN[name]
    assert refusal.value.message.startswith(name)
    assert ("checksum" in refusal.value.message) == (name in ("xhdn0g08", "xcsn0g01"))
    assert not list(tmp_path.iterdir())


def test_the_table_of_broken_files_is_complete(shared: Path) -> None:
    assert {path.stem for path in (shared / "data/odd/pngsuite").glob("x*.png")} == set(_BROKEN)
