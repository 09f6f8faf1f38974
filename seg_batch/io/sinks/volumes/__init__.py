"""Labels of volumes as NRRD, as Slicer's segmentations and as MetaImage."""
