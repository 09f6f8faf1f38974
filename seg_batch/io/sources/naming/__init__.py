"""Names: what files say of their channels, and the names that the files of a stack share."""
