"""Bundles to the formats of other runtimes, and Keras models to bundles."""
