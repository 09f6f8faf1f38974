"""Recipes: everything a training is made of, as one frozen value."""

from seg_batch.config.recipe.augmentation import Augment, Sampling
from seg_batch.config.recipe.hold_out import PARTS, Part
from seg_batch.config.recipe.reading import parse_recipe, read_recipe
from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.recipe.training import Network, Optimiser, Schedule

__all__ = [
    "PARTS",
    "Augment",
    "Network",
    "Optimiser",
    "Part",
    "Recipe",
    "Sampling",
    "Schedule",
    "parse_recipe",
    "read_recipe",
]
