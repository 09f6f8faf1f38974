"""Patch datasets: pairs of image and label are surveyed, split, cut, stored and sampled."""
