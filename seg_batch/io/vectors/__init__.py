"""Vector files: geometries with attributes, in the CRS of a raster."""
