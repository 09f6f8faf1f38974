"""Volumes that a header of text describes, NRRD and MetaImage: one layout, one reader, one copy."""
