"""From an input, a card and the options to every decision of a run."""
