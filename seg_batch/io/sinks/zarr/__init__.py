"""Labels as Zarr: metadata that other programs read, smaller copies for viewers, and the product itself."""
