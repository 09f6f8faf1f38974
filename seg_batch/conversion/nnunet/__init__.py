"""Bundles from the results folders of nnU-Net v2, of any of its releases.

===============  ==========================================================
``reading``      plans.json, dataset.json and the fingerprint as checked values
``network``      which networks plans may name, and of what they are made
``trainers``     which of nnU-Net's trainers keep the network of the plans
``folder``       what of a results folder is taken: its files, folds and checkpoints
``card``         the card: how nnU-Net prepares an image, and what it makes of scores
``bundle``       converts, checks and writes
===============  ==========================================================

Nothing of nnU-Net is imported. Its files are hostile until they were checked.
"""
