"""What catalogues are told of a map: an item of STAC 1.1."""
