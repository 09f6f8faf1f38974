"""Options that a command names and that change nothing of what it makes: a line for each, since somebody expected something."""

from __future__ import annotations

from collections.abc import Iterator

from seg_batch.config.image_options.scene import AS_FILES, PLAIN
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.inference.outputs import Outputs
from seg_batch.io.sinks.product import also_format_of, format_of


def lines_without_effect(
    options: PredictOptions, outputs: Outputs, kind: str, mosaic: bool
) -> list[str]:
    """``--simplify does nothing: no polygons are made``, and the like."""
    return [*_of_scene(options, mosaic), *_of_products(options, outputs, kind)]


def _of_scene(options: PredictOptions, mosaic: bool) -> Iterator[str]:
    for name in () if mosaic else ("order", "align"):
        if getattr(options, name) != getattr(AS_FILES, name):
            yield f"--{name} does nothing: it is for the files of a --mosaic"


def _of_products(options: PredictOptions, outputs: Outputs, kind: str) -> Iterator[str]:
    made = [PRODUCTS[also_format_of(path, kind)] for path in outputs.also]
    used = {name for form in made for name in form.settings}
    for name in ("simplify", "min_area", "polygons"):
        if getattr(options, name) != getattr(PLAIN, name) and name not in used:
            yield f"--{name.replace('_', '-')} does nothing: no polygons are made, as --also .gpkg does"
    main = format_of(outputs.product, kind)
    if options.compress != "auto" and main != "cog":
        yield f"--compress does nothing: {outputs.product.name} is no GeoTIFF"
    if (
        options.seg != "labelmap"
        and main != "dicom_seg"
        and "dicom_seg" not in {f.name for f in made}
    ):
        yield f"--seg does nothing: {outputs.product.name} is no DICOM segmentation"
