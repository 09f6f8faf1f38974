"""What is done to a map after prediction, one file per step, the same whatever the blocks."""
