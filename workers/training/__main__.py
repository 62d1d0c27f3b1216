"""`python -m workers.training`: train where only Keras, NumPy and Pillow are installed, on TensorFlow or JAX.

`spotlift train` does the same with more comfort. `KERAS_BACKEND=jax` chooses JAX.
"""

import argparse
import sys
from pathlib import Path

from workers.training.recipe import TrainingError, read_recipe, recipe_for


def main(arguments: list[str] | None = None) -> int:
    """Follow a recipe and print the curve; 0 when the model is trained, 2 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m workers.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the crops, one folder per kind in it")
    parser.add_argument("--into", type=Path, required=True, help="folder for checkpoints, the curve and the model")
    parser.add_argument("--tier", default="fast", help="tiny, fast or best")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--jpeg", action="store_true", help="the variant for compressed inputs")
    parser.add_argument("--recipe", help="a recipe or a TOML file, instead of a tier's")
    parser.add_argument("--minutes", type=float, help="train that long (default: the recipe's number of steps)")
    wish = parser.parse_args(arguments)
    try:
        recipe = read_recipe(wish.recipe or recipe_for(wish.tier, wish.scale, jpeg=wish.jpeg))
        from workers.training.trainer import train

        exported = train(recipe, wish.data, wish.into, minutes=wish.minutes, on_progress=print)
    except (TrainingError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    print(exported)
    return 0


if __name__ == "__main__":
    sys.exit(main())
