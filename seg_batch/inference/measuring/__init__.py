"""What a run takes: its time before it begins, its disk, and the memory of its own work."""
