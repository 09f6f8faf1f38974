"""Whether an input fits a model: a look at its header and a sample, held against the card."""
