"""The commands of ``models`` that are many lines."""
