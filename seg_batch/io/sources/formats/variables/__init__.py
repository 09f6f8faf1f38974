"""Rasters by name in files of several: netCDF, HDF5, GRIB."""
