"""The inputs that a workflow names, each with the path of its output."""
