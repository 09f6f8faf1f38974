"""Which channels of an image a model takes, and how alpha among them is read."""
