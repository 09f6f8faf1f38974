"""Workflow files: validated YAML, the inputs they name, where results go."""
