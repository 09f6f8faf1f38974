"""What every other package stands on: values, files, this machine. It knows none of them."""
