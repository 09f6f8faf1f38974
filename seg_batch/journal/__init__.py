"""What happened in a run, on disk: an append-only journal, its owner, and what it adds up to."""
