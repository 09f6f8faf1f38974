"""Work on images whose names, headers and dates may not be told: codes, their table, and texts that are safe."""
