"""Patches on a grid: cut, predicted in several views, weighted, added up, seams measured."""
