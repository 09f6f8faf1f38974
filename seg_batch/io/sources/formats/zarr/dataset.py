"""A group with a variable for each band, as xarray writes a Dataset: its arrays over the same y and x are the channels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.arrays.shown import source_html
from seg_batch.io.sources.formats.zarr.axes import ZarrImage, fitting
from seg_batch.io.sources.formats.zarr.transform import coordinates
from seg_batch.io.sources.naming.channel_names import labelled
from seg_batch.io.sources.protocol import Source, SourceInfo, require_inside

_WORDS = ("common_name", "eo:common_name", "long_name", "center_wavelength", "wavelength",
          "wavelength_units")  # fmt: skip


def variables(path: Path, group: Any) -> list[ZarrImage]:
    """The arrays that are the channels of one image: several over the same axes, of which none is one of channels or of
    depth; none where there are no such, or where the group does not place them, as a Dataset does by coordinates of y and x
    or by a grid mapping."""
    images = [
        ZarrImage(group[name], group, axes, {}, path / name) for name, axes in fitting(path, group)
    ]
    alike = {(image.axes.names, image.axes.shape) for image in images}
    flat = all({*image.axes.roles} <= {"t", "y", "x"} for image in images)
    return images if len(images) > 1 and len(alike) == 1 and flat and _is_placed(images) else []


def _is_placed(images: Sequence[ZarrImage]) -> bool:
    first = images[0]
    mapped = any(image.array.attrs.get("grid_mapping") for image in images)
    axes = all(coordinates(first, role) is not None for role in "yx")
    return axes or mapped or "spatial_ref" in first.group


class ZarrDataset:
    """Several arrays as one image; ``read`` gives ``(y, x, channels)``."""

    _repr_html_ = source_html

    def __init__(self, sources: Sequence[Source], info: SourceInfo) -> None:
        self._sources, self.info = tuple(sources), info

    def read(self, box: Box) -> Pixels:
        """``Pixels`` of shape ``(*box.shape, channels)``; ``ReadError`` for a damaged chunk."""
        require_inside(self.info, box)
        values = np.empty((*box.shape, len(self._sources)), self.info.dtype)
        valid = None
        for c, source in enumerate(self._sources):
            part = source.read(box)
            values[..., c] = part.values[..., 0]
            if part.valid is not None:
                valid = np.ones(values.shape, bool) if valid is None else valid
                valid[..., c] = part.valid[..., 0]
        return Pixels(values, valid, self.info.scale, self.info.offset)

    def only(self, indices: Sequence[int], line: str = "") -> ZarrDataset:
        """A source that reads these variables only."""
        return ZarrDataset(
            [self._sources[i] for i in indices], self.info.of_channels(indices, line)
        )

    def close(self) -> None:
        """Nothing is held open."""


def dataset_of(path: Path, images: Sequence[ZarrImage], sources: Sequence[Source]) -> ZarrDataset:
    """The image of these variables, each opened alone."""
    infos = [source.info for source in sources]
    names = [image.array.basename for image in images]
    first, scaled = infos[0], any(info.scale is not None for info in infos)
    said = [
        {word: image.array.attrs[word] for word in _WORDS if word in image.array.attrs}
        for image in images
    ]
    told = f"its {len(names)} variables are taken as channels: {', '.join(names[:12])}{', ...' * (len(names) > 12)}"
    info = replace(
        first,
        path=str(path),
        channels=tuple(names),
        dtype=np.result_type(*(info.dtype for info in infos)).name,
        nodata=tuple(info.nodata[0] for info in infos),
        identity=_identity(names, infos),
        warnings=tuple(dict.fromkeys((told, *(line for info in infos for line in info.warnings)))),
        facts={
            **first.facts,
            "array": names,
            "block_bytes": max(int(info.facts["block_bytes"]) for info in infos),
            "held_bytes": max(2 * np.dtype(info.dtype).itemsize for info in infos),
        },
        names=labelled(names, said),
        scale=tuple((info.scale or (1.0,))[0] for info in infos) if scaled else None,
        offset=tuple((info.offset or (0.0,))[0] for info in infos) if scaled else None,
    )
    return ZarrDataset(sources, info)


def _identity(names: Sequence[str], infos: Sequence[SourceInfo]) -> dict[str, Any]:
    """That of all variables, and of their metadata together."""
    each = {name: info.identity for name, info in zip(names, infos, strict=True)}
    text = json.dumps([info["sha256_metadata"] for info in each.values()])
    return {
        "size": sum(info["size"] for info in each.values()),
        "sha256_metadata": hashlib.sha256(text.encode()).hexdigest(),
        "variables": each,
    }
