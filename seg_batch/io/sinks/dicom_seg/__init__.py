"""Labels as a DICOM segmentation (PS3.3 A.51) of the series that they were made of."""
