"""DICOM over the network: what receives instances, and what sends them."""
