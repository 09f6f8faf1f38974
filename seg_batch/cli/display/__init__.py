"""What a terminal shows: progress bars, the table of a run, lines of facts."""
