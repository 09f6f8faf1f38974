"""A hot folder: each image that arrives in it is segmented once, and moved away or marked."""
