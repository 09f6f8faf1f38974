"""DICOM: which series lie in a place, where their slices are, and what their files say.

Files are read with pydicom; nothing here decides by a name or an ending. ``sources.formats.dicom`` makes
an image of a series, ``sinks`` write segmentations of it.
"""
