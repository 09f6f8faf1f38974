"""Zarr arrays: axes, place, validity."""
