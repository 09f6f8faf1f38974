"""One DICOM file: its elements up to the pixels, read within bounds; the values and functional groups in them."""
