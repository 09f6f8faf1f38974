"""The inputs that a workflow names, each with the output that will be made of it."""
