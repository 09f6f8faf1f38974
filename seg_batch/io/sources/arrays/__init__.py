"""Images as Python takes and shows them: arrays as inputs, products as arrays, tables for notebooks."""
