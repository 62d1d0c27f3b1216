"""Brings in TensorFlow and Keras the same way everywhere: on request, on the same backend, and without chatter."""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: What TensorFlow prints at every start, before any of its settings is in force.
CHATTER = (b"All log messages before absl::InitializeLog()", b"oneDNN custom operations are on")


def tensorflow() -> Any:
    """The module TensorFlow, imported now if it was not yet; raises ImportError when it is not installed."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _without_chatter():
            importlib.import_module("tensorflow")
    return sys.modules["tensorflow"]


def keras() -> Any:
    """The module Keras on TensorFlow, whatever this user's keras.json prefers.

    Raises ImportError when one of the two is not installed, or Keras was imported on another backend before.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    tensorflow()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ImportError(f"Keras runs on {keras.backend.backend()} here already; it must run on tensorflow")
    return keras


def keras_to_train_with() -> Any:
    """The module Keras on TensorFlow, or on JAX where the environment says so (KERAS_BACKEND=jax).

    A computer with a GPU may have JAX only; both learn the same. Raises ImportError when the backend is not installed.
    """
    if os.environ.get("KERAS_BACKEND") != "jax":
        return keras()
    return importlib.import_module("keras")


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what native code writes to stderr, and then let through all but the well-known lines."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is no stderr to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held_back.seek(0)
            for line in held_back:
                if not any(known in line for known in CHATTER):
                    os.write(2, line)
