"""Arrays of Python as inputs, and products as arrays."""
