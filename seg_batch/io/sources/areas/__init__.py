"""Areas on the ground: of an ellipsoid's surface, and of the pixels of a raster."""
