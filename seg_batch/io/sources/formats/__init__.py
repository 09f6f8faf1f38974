"""One module per file format, loaded when a file of that format is opened."""
