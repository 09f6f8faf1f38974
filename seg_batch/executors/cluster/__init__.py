"""A Dask cluster beneath a pool: its settings, certificates and start, and the checks of its workers."""
