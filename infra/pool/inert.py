"""What a scheduler or a machine sends is unpickled into values only: no code of theirs runs in the process that asked.

Dask unpickles results, errors and news wherever they arrive, and a pickle can call whatever it names. Here it names a
few classes that cannot do harm; everything else becomes `Withheld`, which does nothing and says what it was.
"""

import builtins
import io
import pickle
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from distributed import KilledWorker
from distributed.core import Status
from distributed.protocol import pickle as protocol
from distributed.scheduler import WorkerState

LONGEST = 500


class Withheld(Exception):
    """Stands for what may not be unpickled here. An exception, because Dask wants one where an error was sent."""

    what = "something"

    def __new__(cls, *args: Any, **_: Any) -> "Withheld":
        return super().__new__(cls, *args)

    def __init__(self, *args: Any, **_: Any) -> None:
        super().__init__(*args)

    def __setstate__(self, *_: object) -> None:
        """Ignore it, as everything else that a pickle may fill an object with."""

    __setitem__ = append = extend = add = __setstate__

    def __str__(self) -> str:
        said = ", ".join(str(it) for it in self.args)
        return f"{self.what}: {said}"[:LONGEST]


def _error(kind: type[Exception], args: tuple[Any, ...], *_: object) -> Exception:
    """An error without the errors that led to it, and without frames of elsewhere."""
    return kind(*args)


def _error_of_attributes(kind: type[Exception], attributes: dict[str, Any], *_: object) -> Exception:
    """The same for a class whose `__init__` may want something else."""
    error = kind.__new__(kind)
    error.args = attributes["args"]
    return error


def _no_traceback(*_: object) -> None:
    """Frames of elsewhere are not rebuilt here."""


def _names(kinds: Iterable[type[Any]]) -> dict[tuple[str, str], Any]:
    return {(kind.__module__, kind.__qualname__): kind for kind in kinds}


def _harmless() -> dict[tuple[str, str], Any]:
    """What a pickle may name: errors, plain containers, and how Dask tells of a worker that was lost."""
    errors = [it for it in vars(builtins).values() if isinstance(it, type) and issubclass(it, Exception)]
    kinds = _names([*errors, KilledWorker, WorkerState, Status, bytes, bytearray, int, set, frozenset])
    tblib = {
        "unpickle_exception": _error,
        "unpickle_exception_with_attrs": _error_of_attributes,
        "unpickle_traceback": _no_traceback,
    }
    rebuilding = {("tblib.pickling_support", name): how for name, how in tblib.items()}
    return {**kinds, **_names([defaultdict, deque]), **rebuilding}


_HARMLESS = _harmless()


def allow(*kinds: type[Exception]) -> None:
    """From now on errors of these classes are unpickled as what they are."""
    _HARMLESS.update(_names(kinds))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _HARMLESS.get((module, name))
        return known or type("Withheld", (Withheld,), {"what": f"{module}.{name}"})


def loads(data: bytes, *, buffers: Iterable[Any] = ()) -> Any:
    """The value in a pickle, `Withheld` if there is none. Never runs code that the pickle brings or names."""
    try:
        return _Unpickler(io.BytesIO(data), buffers=buffers).load()
    except Exception as error:  # noqa: BLE001 - whatever a wrong pickle runs into; Dask would stop listening
        return Withheld(repr(error))


def guard() -> None:
    """From now on Dask unpickles in this way in this process, which must not be a worker's or a scheduler's."""
    protocol.loads = loads
