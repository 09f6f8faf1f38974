"""The base of every other package: values, errors, events, files, this machine. It imports none of them."""
