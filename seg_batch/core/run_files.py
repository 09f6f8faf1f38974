"""Names of what a run leaves beside its products while it is on its way."""

from __future__ import annotations

ATTEMPT = "try-"  # how the name of an attempt begins
ON_THE_WAY = (".work.zarr", ".staged")  # how the names end of what is no product
