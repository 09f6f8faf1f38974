"""The steps of a workflow, one after another, each resumable."""
