"""libvips as this project wants it: silent, forgetful, and with errors of the disk told apart from errors
of the image."""

import logging
from types import TracebackType
from typing import Any, BinaryIO

import pyvips

# Without a handler Python's last resort prints libvips' warnings to the standard error; a batch has
# thousands.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
logging.getLogger("pyvips").setLevel(logging.ERROR)
# libvips remembers opened files by name and would answer with yesterday's picture when the file has changed.
pyvips.cache_set_max(0)

FORMATS = {8: "uchar", 16: "ushort"}


class Output:
    """A libvips target that writes into an open Python file, so that a full disk raises the OSError it is.

    `insert` goes into the file behind the first `after` bytes of the encoder: the way to put segments of
    our own right behind its header. With it the encoder must write from front to back.
    """

    def __init__(self, file: BinaryIO, insert: bytes = b"", after: int = 0) -> None:
        self._file = file
        self._insert = insert
        self._after = after
        self._failure: OSError | None = None
        self.target: Any = pyvips.TargetCustom()
        self.target.on_write(self._write)
        self.target.on_read(self._read)
        self.target.on_seek(self._seek)

    def __enter__(self) -> "Output":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._failure is not None:
            raise self._failure

    def _write(self, data: Any) -> int:
        whole = bytes(data)
        try:
            rest = self._file.write(whole[: self._after])
            if self._insert and rest == self._after:
                self._file.write(self._insert)
                self._insert = b""
            self._after -= rest
            self._file.write(whole[rest:])
        except OSError as failure:  # an exception would be lost inside libvips: keep it for __exit__
            self._failure = failure
            return -1
        return len(whole)

    def _read(self, size: int) -> bytes:
        return self._file.read(size)

    def _seek(self, offset: int, whence: int) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as failure:  # it writes what it has held back, and so meets a full disk too
            self._failure = failure
            return -1
