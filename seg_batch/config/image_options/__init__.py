"""How an image is put together, on which grid, and which part of it is wanted: options, declared once."""
