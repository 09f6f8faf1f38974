"""Views of a source: oriented, upsampled, stacked, or on another grid."""
