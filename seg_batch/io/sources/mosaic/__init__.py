"""Many rasters seen as one scene: an index of their boxes, of which few files are open at a time."""
