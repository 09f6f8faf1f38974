"""Texts beside a map, which hold no label: what its classes are called, how they look, how large they are."""
