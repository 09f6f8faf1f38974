"""What is done to an image before it comes to the grid of a model."""
