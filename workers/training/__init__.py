"""Trains our own models, so that a model can be made again, or made better, from code and licensed pictures.

Read a recipe with `recipe.read_recipe`, and follow it with `trainer.train`, which alone imports TensorFlow.
"""

import os

# Before the first import of Keras and TensorFlow: which backend, and no chatter.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
