"""A hot folder: what arrives in it is segmented once, and tidied away."""
