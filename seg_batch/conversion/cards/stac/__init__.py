"""STAC items with the Machine Learning Model extension."""
