"""Many inputs in one run: surveyed, queued, predicted, set aside or retried, resumable."""
