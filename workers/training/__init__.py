"""Trains our own models, so that a model can be made again, or made better, from code and licensed pictures.

Read a recipe with `recipe.read_recipe`, and follow it with `trainer.train`, which alone imports TensorFlow.
"""
