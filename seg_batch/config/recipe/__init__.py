"""Recipes: everything a training is made of, as one frozen value."""

from seg_batch.config.recipe.augmentation import Augment
from seg_batch.config.recipe.hold_out import PARTS
from seg_batch.config.recipe.reading import parse_recipe, read_recipe
from seg_batch.config.recipe.recipe import Recipe
from seg_batch.config.recipe.training import Optimiser, Schedule

__all__ = ["PARTS", "Augment", "Optimiser", "Recipe", "Schedule", "parse_recipe", "read_recipe"]
