"""A DICOM series as a volume, and its plain copy, which workers read."""
