"""Recipes: everything a training is made of, as one frozen value."""

from seg_batch.recipe.augment import Augment, Sampling
from seg_batch.recipe.draft import Cut, Draft
from seg_batch.recipe.fit import Distil, Fit, Loss, Network, Optimiser, Schedule
from seg_batch.recipe.reading import parse_recipe, read_recipe
from seg_batch.recipe.recipe import Recipe
from seg_batch.recipe.split import PARTS, HoldOut, Part

__all__ = [
    "PARTS",
    "Augment",
    "Cut",
    "Distil",
    "Draft",
    "Fit",
    "HoldOut",
    "Loss",
    "Network",
    "Optimiser",
    "Part",
    "Recipe",
    "Sampling",
    "Schedule",
    "parse_recipe",
    "read_recipe",
]
