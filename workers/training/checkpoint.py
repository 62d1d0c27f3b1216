"""Keeps a training on disk, so that an interruption costs minutes and not the whole training."""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from workers.training.recipe import TrainingError
from workers.training.trainee import Trainee, keras


def save(trainee: Trainee, into: Path) -> None:
    """Write the state to `into/checkpoint.npz`, replacing the one before in one move."""
    arrays = {str(i): keras.ops.convert_to_numpy(variable) for i, variable in enumerate(trainee.variables())}
    about = {"recipe": asdict(trainee.recipe), "step": trainee.step, "seconds": trainee.seconds}
    fresh = into / "checkpoint.part.npz"
    np.savez(fresh, about=json.dumps(about), **arrays)
    fresh.replace(into / "checkpoint.npz")


def restore(trainee: Trainee, into: Path) -> None:
    """Take over the state in `into`, if there is one.

    Raises TrainingError when it is damaged, or the state of a training by another recipe.
    """
    path = into / "checkpoint.npz"
    if not path.exists():
        return
    try:
        with np.load(path) as kept:
            about = json.loads(str(kept["about"]))
            if about["recipe"] != json.loads(json.dumps(asdict(trainee.recipe))):
                raise TrainingError(
                    f"{path} is from a training by another recipe. Choose another folder, or remove this one."
                )
            for i, variable in enumerate(trainee.variables()):
                variable.assign(kept[str(i)])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} cannot be read ({error}). Remove it to start anew.") from error
    trainee.step, trainee.seconds = about["step"], about["seconds"]
