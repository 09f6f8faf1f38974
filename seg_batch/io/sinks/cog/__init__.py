"""Products as cloud-optimised GeoTIFF: `tiles` are encoded as pixels come, `write` puts them into a file."""
