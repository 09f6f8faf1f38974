"""Formats, one file each: how one is known, opened and written. Libraries are loaded when one is used.

``core.registry.formats`` lists them.
"""
