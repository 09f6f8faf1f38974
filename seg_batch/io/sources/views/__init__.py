"""A source shown in another way: oriented, upsampled, stacked, or on another grid."""
