"""Scores of label files against truth, and of models on held-out data."""
