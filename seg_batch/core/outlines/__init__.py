"""Outlines of the objects in a map, swept row by row: arcs between objects, and the polygons they make, as machine code.

An object is a set of pixels of one label that hang together by their sides. Who needs outlines imports ``polygoniser``
where the first is made, since numba takes time to load.
"""
