"""Loops that NumPy has no fast words for, as machine code; who needs one imports it there, since numba takes time to load."""
