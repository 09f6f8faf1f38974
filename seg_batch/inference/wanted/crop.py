"""The cut of a product to its area: the smallest box with all pixels of it. Tiles, blocks and store stay those of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import shifted
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.inference.outputs import Outputs
from seg_batch.io.sinks.product import format_of
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.open_view import View
from seg_batch.io.vectors.area import Area


@dataclass(frozen=True)
class Cut:
    """``box``: in pixels of the product's grid; ``of_image``: the same in those of the image."""

    box: Box
    of_image: Box

    def of(self, info: SourceInfo) -> SourceInfo:
        """What is known of a product that is cut, by that of the whole."""
        georef = shifted(info.georef, self.box.start)
        return replace(info, extent=self.box.shape, georef=georef)


def cut_to(area: Area, view: View, outputs: Outputs) -> Cut:
    """The cut of a product of ``view``. OutputError for a product that is the store itself, InputError where its pixels are no
    parts of those of the image."""
    product = outputs.product
    if PRODUCTS[format_of(product, view.native.info.kind)].needs_store:
        raise OutputError(
            f"{product.name} is made of the whole work store, so it can't be cut: name it {PRODUCTS['cog'].endings[0]}, or leave out --crop"
        )
    if view.native.info.resampled_from:
        raise InputError(
            "--crop cuts by pixels of the image, and the map has those of the model's grid: leave out --crop or "
            "--output-grid model"
        )
    bounds = area.bounds(Box.whole(area.extent))
    assert bounds is not None
    of_image = view.touched(bounds)
    ends = (
        tuple(n * f for n, f in zip(end, view.finer, strict=True))
        for end in (of_image.start, of_image.stop)
    )
    return Cut(Box(*ends), of_image)
