"""Properties of a network that follow from its graph, without running it on data."""
