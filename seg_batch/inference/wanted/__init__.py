"""Which blocks and which parts of them need no model: outside the area that is wanted, or empty by the index of the file."""
