"""Steps after prediction: one file per step of the chain, and their passes over blocks."""
