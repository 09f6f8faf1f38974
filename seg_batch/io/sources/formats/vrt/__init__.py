"""VRTs of GDAL, of which every source is checked before GDAL opens any."""
