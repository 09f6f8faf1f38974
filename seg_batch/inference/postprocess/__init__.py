"""What is done to a map after prediction: one file per step of the chain, and how steps run over blocks."""
