"""Whether tables of zones can be made, before anything is predicted."""

from __future__ import annotations

from seg_batch.config.image_options.scene import FurtherOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.inference.outputs import Outputs
from seg_batch.io.sinks.product import also_format_of
from seg_batch.io.sources.protocol import SourceInfo


def zone_lines(
    further: FurtherOptions, outputs: Outputs, info: SourceInfo, *, everything: bool
) -> list[str]:
    """What is to be told of the zones on an image. PlanError where options change nothing, InputError for zones that can't be
    counted in. ``everything``: else what has no zones, like a volume, gets its tables without them."""
    if further.zones is None:
        said = "--zone-field" if further.zone_field is not None else "--fractional"
        if further.zone_field is not None or further.fractional:
            raise PlanError(f"{said} says how --zones are counted, and there are none: add --zones")
        return []
    if info.kind != "raster":
        line = f"{info.path} is a volume, and --zones are areas on a map"
        if everything:
            raise PlanError(f"{line}: leave them out")
        return [f"{line}: its tables are without them"]
    forms = (PRODUCTS[also_format_of(path, info.kind)] for path in outputs.also)
    if not any("zones" in form.settings for form in forms):
        raise PlanError("--zones is for tables, and none is made: add --also .csv")
    from seg_batch.io.vectors.zones import Zones

    return list(Zones.of(further, info.georef, info.extent, info.path).warnings)
