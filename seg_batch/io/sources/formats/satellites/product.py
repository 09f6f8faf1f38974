"""A product as one image: all its bands, each with its own pixels, and bands of quality beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any

from seg_batch.core.errors import InputError
from seg_batch.io.sources.formats.satellites.band_file import Band, open_band
from seg_batch.io.sources.formats.satellites.tree import Tree
from seg_batch.io.sources.protocol import Source, SourceInfo
from seg_batch.io.sources.views.joined.joined import Joined


@dataclass(frozen=True)
class Product:
    """What the metadata of a scene say. ``bands``: its channels, in order; ``quality``: of what else it has, the names that
    ``--mask-from`` takes; ``metadata``: the names of files that it was learnt from."""

    format: str
    tree: Tree
    bands: Sequence[Band]
    quality: Mapping[str, Band]
    metadata: Sequence[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def open(self) -> Joined:
        """InputError where a band can't be opened or shows another place."""
        if not self.bands:
            raise InputError(
                f"{self.tree.root}: none of the bands that its metadata name is there; copy it again from its origin"
            )
        with ExitStack() as opened:
            files = [
                opened.enter_context(closing(open_band(self.tree, band, self.format)))
                for band in self.bands
            ]
            image = Joined(files, told=self._told, quality=self._quality)
            opened.pop_all()
        return image

    def _told(self, info: SourceInfo, lines: tuple[str, ...]) -> SourceInfo:
        files = [*self.metadata, *(b.file for b in (*self.bands, *self.quality.values()))]
        facts = {**info.facts, **self.facts, "quality_bands": sorted(self.quality)}
        return replace(
            info,
            path=str(self.tree.root),
            channels=tuple(band.name for band in self.bands),
            names=tuple(band.names for band in self.bands),
            identity=self.tree.identity(files),
            facts=facts,
            stack=(),
            warnings=(*info.warnings, *self.warnings, *lines),
        )

    def _quality(self, name: str) -> Source | None:
        """The band of quality of this name."""
        known = {key.casefold(): band for key, band in self.quality.items()}
        band = known.get(name.casefold())
        return None if band is None else open_band(self.tree, band, self.format)
