"""The training of a network: `fit` is its interface, `loop` runs the compiled `step`."""
