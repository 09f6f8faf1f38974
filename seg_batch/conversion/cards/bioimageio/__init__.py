"""Model descriptions of bioimage.io."""
