"""Items of STAC catalogues as inputs: found, held against the hosts that may be read, and their assets chosen."""
