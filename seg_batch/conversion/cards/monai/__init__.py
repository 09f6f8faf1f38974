"""Bundles of MONAI."""
