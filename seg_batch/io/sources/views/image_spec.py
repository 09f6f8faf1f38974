"""The files of one image, and how they are opened as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.image_options.grid import AS_STORED, GridOptions
from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.io.sources import open_source
from seg_batch.io.sources.naming.stac_item import StacItem
from seg_batch.io.sources.protocol import AlphaOption, AlphaReading, SeveralVolumesError, Source
from seg_batch.io.sources.views.before_grid.crop import Crop
from seg_batch.io.sources.views.channels.alpha import reading_beside, settled_reading
from seg_batch.io.sources.views.channels.by_file import require_different
from seg_batch.io.sources.views.channels.by_item import as_item_says
from seg_batch.io.sources.views.channels.by_name import REMEDY, channels_called, with_channels
from seg_batch.io.sources.views.channels.selected import selected
from seg_batch.io.sources.views.rescaled import Numbers, Scale, rescaled
from seg_batch.io.sources.views.stacked import Stacked


@dataclass(frozen=True)
class ImageSpec:
    """The files of one image: one, or several whose channels follow one another. ``volume``: its index
    in a 4-D file; ``staged``: the result of ``stage`` for each path, where any was staged; ``alpha``: how
    bands marked as alpha are read, for each path where any differs from ``auto``; ``channels_last_axis``: the
    volumes of a 4-D file are its channels; ``bands``: the channels that are taken of all, by name or by number from 1,
    where not all are; ``scale`` and ``offset``: see ``rescaled``, of the channels in ``bands``; ``grid``: how it comes to
    the grid of a model; ``crop``: what a model that sees a crop sees of it; ``series``: which one, where a place holds several, in
    the files ``series_files``, see ``open_source``. ``mosaic``: the files are the pieces of one scene, not its channels; ``scene``: how
    they are read. ``item``: the STAC item that the files are assets of."""

    paths: tuple[str, ...]
    volume: int | None = None
    staged: tuple[Path, ...] = ()
    alpha: tuple[AlphaOption, ...] = ()
    channels_last_axis: bool = False
    bands: tuple[str, ...] = ()
    scale: Scale | None = None
    offset: Numbers | None = None
    grid: GridOptions = AS_STORED
    crop: Crop = None
    series: str | None = None
    series_files: tuple[str, ...] = ()
    mosaic: bool = False
    scene: SceneOptions = AS_FILES
    item: StacItem | None = None

    @property
    def _options(self) -> Sequence[AlphaOption]:
        return self.alpha or ["auto"] * len(self.paths)

    def open(self) -> Source:
        """The image as its files have it, of its channels those in ``bands``. ``InputError`` unless the files can be
        read, share a grid, are different, and have the bands."""
        image = self._files()
        with ExitStack() as opened:
            opened.callback(image.close)
            image = self._chosen(image) if self.bands else image
            opened.callback(image.close)
            image = rescaled(image, self.scale, self.offset)
            opened.pop_all()
        return image

    def _chosen(self, image: Source) -> Source:
        """The channels in ``bands``; the image is closed with the result, or where there is none."""
        with ExitStack() as opened:
            opened.callback(image.close)
            indices = channels_called(image.info, self.bands)
            reading = reading_beside(image.info, indices)
            if reading == "auto":
                opened.pop_all()
                return selected(image, indices)
        return replace(self._read_as(reading, image), scale=None, offset=None).open()

    def _files(self) -> Source:
        count = len(self.paths)
        require_different(self.paths)
        staged = self.staged or (None,) * count
        with ExitStack() as opened:
            files = [
                self._with_item(opened.enter_context(closing(source)), n)
                for n, (path, copy, option) in enumerate(
                    zip(self.paths, staged, self._options, strict=True)
                )
                for source in self._sources(path, copy, option)
            ]
            image = files[0] if len(files) == 1 else Stacked(files)
            opened.pop_all()
        return image

    def _sources(self, path: str, staged: Path | None, alpha: AlphaOption) -> Iterator[Source]:
        """The file, or each of its volumes where these are channels."""
        opened = partial(open_source, path, staged=staged, alpha=alpha, scene=self.scene)
        opened = partial(opened, series=self.series, series_files=self.series_files)
        try:
            yield opened(volume=self.volume)
        except SeveralVolumesError as error:
            if not self.channels_last_axis:
                raise
            for volume in range(error.count):
                yield opened(volume=volume)

    def _with_item(self, source: Source, index: int) -> Source:
        return source if self.item is None else as_item_says(source, self.item, index)

    def settled(self, image: Source, channels: int | None) -> ImageSpec:
        """The same, with what ``channels`` of a model settle about the alpha of ``image``, as it was opened."""
        reading = settled_reading(image.info, channels)
        return self if reading == "auto" or self.bands else self._read_as(reading, image)

    def _read_as(self, reading: AlphaReading, image: Source) -> ImageSpec:
        """With this reading of the bands marked as alpha that are open."""
        return replace(
            self,
            alpha=tuple(
                reading if info.alpha and not info.alpha.fixed else option
                for info, option in zip(image.info.files, self._options, strict=True)
            ),
        )

    def open_for(self, channels: Channels | None, remedy: str = REMEDY) -> Source:
        """The image with the channels of a model: its alpha as their number says, its channels as their names say."""
        image = self.open()
        spec = self.settled(image, None if channels is None else len(channels))
        if spec != self:
            image.close()
            image = spec.open()
        return with_channels(image, channels, remedy)


def takes_last_axis(channels: Sized | None) -> bool:
    """Whether the volumes of a 4-D file may be the channels of a model: it has several of a known number."""
    return channels is not None and len(channels) > 1
