"""Scenes of satellites as their agencies deliver them: many files of bands, and metadata that says what they are."""
