"""From the store of a run to its products."""
