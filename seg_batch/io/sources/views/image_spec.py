"""The files of one image, and how they are opened as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from seg_batch.config.card_parts.channels import Channels
from seg_batch.config.image_options.grid import AS_STORED, GridOptions
from seg_batch.config.image_options.mask_from import mask_rules
from seg_batch.config.image_options.scene import AS_FILES, SceneOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from seg_batch.io.sources.naming.stac_item import StacItem
from seg_batch.io.sources.protocol import (
    AlphaOption,
    AlphaReading,
    SeveralVolumesError,
    Source,
    SourceInfo,
)
from seg_batch.io.sources.views.before_grid.crop import Crop, Cropped
from seg_batch.io.sources.views.channels.alpha import reading_beside, settled_reading
from seg_batch.io.sources.views.channels.by_file import require_different
from seg_batch.io.sources.views.channels.by_item import as_item_says
from seg_batch.io.sources.views.channels.by_name import REMEDY, channels_called, with_channels
from seg_batch.io.sources.views.channels.selected import selected
from seg_batch.io.sources.views.joined.joined import as_wanted, stacked
from seg_batch.io.sources.views.joined.lattice import FINEST, OneGrid
from seg_batch.io.sources.views.joined.masked import Masked, masks_of, without_channels
from seg_batch.io.sources.views.rescaled import Numbers, Scale, rescaled


@dataclass(frozen=True)
class ImageSpec:
    """The files of one image: one, or several whose channels follow one another. ``volume``: its index
    in a 4-D file; ``staged``: the result of ``stage`` for each path, where any was staged; ``alpha``: how
    bands marked as alpha are read, for each path where any differs from ``auto``; ``channels_last_axis``: the
    volumes of a 4-D file are its channels; ``bands``: the channels that are taken of all, by name or by number from 1,
    where not all are; ``scale`` and ``offset``: see ``rescaled``, of the channels in ``bands``; ``grid``: how it comes to
    the grid of a model; ``crop``: what a model that sees a crop sees of it; ``series``: which one, where a place holds several, in
    the files ``series_files``, see ``open_source``. ``mosaic``: the files are the pieces of one scene, not its channels; ``scene``: how
    they are read; of a mosaic ``staged`` is the file of its index, which names the pieces, and ``alpha`` one for all. ``window``:
    the part of it that is meant, in pixels of the files; None: all. ``one_grid``: on which grid files with unequal pixels meet. ``item``:
    the STAC item that the files are assets of."""

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
    one_grid: OneGrid = FINEST
    window: Box | None = None

    @property
    def _options(self) -> Sequence[AlphaOption]:
        return self.alpha or ["auto"] * (1 if self.mosaic else len(self.paths))

    def open(self) -> Source:
        """The image as its files have it, of its channels those in ``bands``. ``InputError`` unless the files can be
        read, share a grid, are different, and have the bands."""
        image = self._files()
        with ExitStack() as opened:
            opened.callback(image.close)
            if self.scene.mask_from:
                image = self._masked(image)
            elif self.bands:
                image = self._chosen(image)
            opened.callback(image.close)
            image = rescaled(image, self.scale, self.offset)
            if self.window is not None:
                image = Cropped(image, self.window)
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

    def _masked(self, image: Source) -> Source:
        """The channels that are asked for, without data where ``scene.mask_from`` says so; the image is closed with the
        result, or where there is none."""
        with ExitStack() as opened:
            opened.callback(image.close)
            masks, own = masks_of(image, mask_rules(self.scene.mask_from), self._files)
            for _, mask in masks:
                opened.callback(mask.close)
            plain = replace(self, scene=replace(self.scene, mask_from=()))
            image = plain._chosen(image) if self.bands else without_channels(image, own)
            opened.callback(image.close)
            masked = Masked(image, masks)
            opened.pop_all()
        return masked

    def _files(self) -> Source:
        if self.mosaic:
            return self._mosaic()
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
            image = files[0] if len(files) == 1 else stacked(files, self.one_grid)
            opened.pop_all()
        return image

    def _mosaic(self) -> Source:
        from seg_batch.io.sources.mosaic.source import (
            open_mosaic,  # with GDAL, of which volumes have no need
        )

        if self.volume is not None or self.series is not None or self.channels_last_axis:
            raise InputError(
                "a mosaic is made of rasters, which have no volumes or series to choose: leave out --volume, --series and "
                "--channels-last-axis"
            )
        staged = self.staged[0] if self.staged else None
        return open_mosaic(self.paths, staged, self.scene, self._options[0])

    def stage_index(self, info: SourceInfo, folder: Path) -> Path:
        """The file with the index of this mosaic, made in ``folder``. ``info``: of the mosaic as it was opened; ``InputError``
        where it is another now."""
        from seg_batch.io.sources.mosaic.source import stage_mosaic

        return stage_mosaic(self.paths, info.identity, folder, self.scene, self._options[0])

    def _sources(self, path: str, staged: Path | None, alpha: AlphaOption) -> Iterator[Source]:
        """The file, or each of its volumes where these are channels."""
        opened = partial(open_source, path, staged=staged, alpha=alpha, scene=self.scene)
        opened = partial(opened, series=self.series, series_files=self.series_files)
        try:
            yield as_wanted(opened(volume=self.volume), self.one_grid)
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
