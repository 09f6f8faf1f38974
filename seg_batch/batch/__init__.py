"""Many inputs in one resumable run: surveyed, queued, predicted, and retried or quarantined."""
