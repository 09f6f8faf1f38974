"""Where results go: the work store of a run, and products in their formats."""
