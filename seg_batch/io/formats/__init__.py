"""Formats, one file each: detection, reader and writer. Libraries are loaded at their first use.

``core.registry.formats`` lists them.
"""
