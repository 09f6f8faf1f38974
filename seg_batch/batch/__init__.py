"""Many inputs in one run: surveyed, queued, predicted, retried or set aside, resumable."""
