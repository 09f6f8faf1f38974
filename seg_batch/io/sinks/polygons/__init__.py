"""Maps as polygons: GeoPackage, FlatGeobuf and GeoParquet, made strip by strip of the finished labels."""
