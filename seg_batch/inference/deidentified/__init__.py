"""Predictions of inputs that are not to be known."""
