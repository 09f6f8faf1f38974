"""From indices to coordinates in a Zarr store: attributes, coordinate arrays, OME transformations.

Where two of them state the place of a pixel and differ, the one that GDAL and rioxarray take is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import SAME_PLACE, Affine6, RasterGeoref, voxel_distance
from seg_batch.io.sources.formats.zarr.axes import ZarrImage, all_multiscales

_IDENTITY = RasterGeoref().transform
_APPLIED = ("scale", "translation", "identity")


def find_transform(image: ZarrImage, mapping: dict[str, Any]) -> tuple[Affine6 | None, list[str]]:
    """The transform of a raster, or None; and lines about what contradicts it. ``mapping``: the attributes
    of the grid mapping variable."""
    axes = {role: axis_values(image, role) for role in "xy"}
    uneven = uneven_axes(image, axes)
    stated = _attributes(image, mapping)
    if not stated:
        x, y = regular(axes["x"]), regular(axes["y"])
        return (None if x is None or y is None else _replaced(_IDENTITY, x, y)), uneven
    (name, transform), *others = stated
    for other, further in others:
        if (apart := _apart(transform, further, image)) > SAME_PLACE:
            return transform, [_told(name, other, apart, name)]
    x, y = regular(axes["x"], transform[0]), regular(axes["y"], transform[4])
    there = _replaced(transform, x, y)
    apart = _apart(there, transform, image)
    if uneven or apart <= SAME_PLACE:
        return transform, [f"{each}: {name} is taken" for each in uneven]
    # A rotation can't be expressed by coordinates, nor the place by those of one axis.
    kept = x is None or y is None or transform[1] != 0 or transform[3] != 0
    told = _told(name, "the coordinates", apart, name if kept else "the coordinates")
    return transform if kept else there, [told]


def _replaced(
    stated: Affine6, x: tuple[float, float] | None, y: tuple[float, float] | None
) -> Affine6:
    """A transform with the axes of which there are coordinates, given as ``first, step``."""
    a, b, c, d, e, f = stated
    if x is not None:
        a, b, c = x[1], 0.0, x[0] - x[1] / 2
    if y is not None:
        d, e, f = 0.0, y[1], y[0] - y[1] / 2
    return a, b, c, d, e, f


def _told(name: str, other: str, apart: float, taken: str) -> str:
    verb = "are" if taken.startswith("the ") else "is"
    return f"{name} and {other} place pixels up to {apart:.3g} pixels apart: {taken} {verb} taken"


def _apart(a: Affine6, b: Affine6, image: ZarrImage) -> float:
    here, there = RasterGeoref(transform=a), RasterGeoref(transform=b)
    return voxel_distance(here, there, image.axes.extent)


def _attributes(image: ZarrImage, mapping: dict[str, Any]) -> list[tuple[str, Affine6]]:
    """Transforms in attributes. GDAL's order is ``c a b f d e``; GeoZarr's is ours."""
    stated: list[tuple[str, Affine6]] = []
    if gdal := _numbers(mapping.get("GeoTransform")):
        c, a, b, f, d, e = gdal
        stated.append(("GeoTransform", (a, b, c, d, e, f)))
    if geozarr := _numbers(image.attributes.get("spatial:transform")):
        stated.append(("spatial:transform", tuple(geozarr)))  # type: ignore[arg-type]
    return stated


def _numbers(value: Any) -> list[float] | None:
    """Six finite numbers from a list or from text, else None."""
    try:
        numbers = [float(v) for v in (value.split() if isinstance(value, str) else value or ())]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 6 and np.isfinite(numbers).all() else None


def regular(values: np.ndarray | None, alone: float | None = None) -> tuple[float, float] | None:
    """``first, step`` of the coordinates of an axis (voxel centres), or None if absent or uneven.
    ``alone``: the step of a single voxel."""
    if values is None or (len(values) < 2 and not alone) or _unevenness(values) > 1:
        return None
    first, last = float(values[0]), float(values[-1])
    step = (last - first) / (len(values) - 1) if len(values) > 1 else float(alone or 0)
    return (first, step) if step else None


def uneven_axes(image: ZarrImage, axes: dict[str, np.ndarray | None]) -> list[str]:
    """A phrase about each axis with coordinates that are not evenly spaced."""
    return [
        f"coordinates of {image.axes.name(role)} are not evenly spaced"
        for role, values in axes.items()
        if values is not None and _unevenness(values) > 1
    ]


def axis_values(image: ZarrImage, role: str) -> np.ndarray | None:
    """The coordinates of an axis where they are numbers, unpacked as CF says."""
    array = _coordinate_array(image, role)
    if array is None or array.dtype.kind not in "iuf":
        return None
    scale, offset = array.attrs.get("scale_factor", 1), array.attrs.get("add_offset", 0)
    values = np.asarray(array[:])
    return values if (scale, offset) == (1, 0) else values * float(scale) + float(offset)


def _unevenness(values: np.ndarray) -> float:
    """The largest distance of a coordinate from its even place, in units of what is allowed: a hundredth
    of a step, or the precision in which coordinates are stored."""
    if len(values) < 2:
        return 0.0
    exact = values.astype(np.float64)
    step = (exact[-1] - exact[0]) / (len(exact) - 1)
    largest = np.abs(values).max()
    rounding = np.spacing(largest) if values.dtype.kind == "f" else 0.0
    allowed = max(SAME_PLACE * abs(step), float(rounding) if abs(step) > 4 * rounding else 0.0)
    off = np.abs(exact - (exact[0] + step * np.arange(len(exact)))).max()
    return float(off / allowed) if allowed and np.isfinite(off) else np.inf


def coordinates(image: ZarrImage, role: str) -> np.ndarray | None:
    """The coordinate array of an axis as stored, or None."""
    array = _coordinate_array(image, role)
    return None if array is None else np.asarray(array[:])


def _coordinate_array(image: ZarrImage, role: str) -> Any:
    """The array of an axis's name, in the group, and as long as the axis; or None."""
    if image.group is None or role not in image.axes.roles:
        return None
    array = image.group.get(image.axes.name(role))
    return array if getattr(array, "shape", None) == (image.axes.length(role),) else None


def ome_steps(
    image: ZarrImage,
) -> tuple[list[tuple[tuple[float, float] | None, str]], list[str]]:
    """``(translation, scale)`` and unit along x, y, z, and lines: the array's own transformations, then
    the image's, which follow them. InputError where one is no list of numbers, one per axis."""
    scale, shift, told = _combined(image, image.ome["datasets"][0])
    named = [axis for axis in image.ome.get("axes", []) if isinstance(axis, dict)]
    units = [str(axis.get("unit", "")).lower() for axis in named]
    at = [image.axes.roles.index(role) for role in "xyz"]
    steps: list[tuple[tuple[float, float] | None, str]] = [
        ((float(shift[i]), float(scale[i])), units[i] if i < len(units) else "") for i in at
    ]
    if (count := len(all_multiscales(image.group))) > 1:
        told.append(f"its OME metadata name {count} images: the first is read")
    return steps, [*told, *_levels(image, scale)]


def _combined(
    image: ZarrImage, dataset: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scale, translation and lines of one resolution, along the axes of its array."""
    rank, scaled = image.array.ndim, False
    scale, shift, told = np.ones(rank), np.zeros(rank), []
    for change in (c for part in (dataset, image.ome) for c in _changes(part)):
        kind = str(change.get("type"))
        if kind not in _APPLIED or "path" in change:
            told.append(f"a coordinate transformation of OME ({kind}) is not applied")
        elif kind == "scale":
            by = _vector(image, change, kind)
            scale, shift, scaled = scale * by, shift * by, True
        elif kind == "translation":
            shift = shift + _vector(image, change, kind)
    if not scaled:
        told.append(
            "its OME metadata state no voxel sizes: 1 of its unit is assumed along each axis"
        )
    return scale, shift, told


def _changes(part: dict[str, Any]) -> list[dict[str, Any]]:
    listed = part.get("coordinateTransformations") or []
    return [change for change in listed if isinstance(change, dict)]


def _vector(image: ZarrImage, change: dict[str, Any], kind: str) -> np.ndarray:
    """Numbers along all axes; as text they count as well."""
    try:
        values = () if isinstance(change[kind], str) else change[kind]
        numbers = np.array([float(value) for value in values], np.float64)
    except (KeyError, TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (image.array.ndim,) or not np.isfinite(numbers).all():
        raise InputError(
            f"{image.folder}: the {kind} in its OME metadata is {change.get(kind)}, which is not one number "
            f"for each of its {image.array.ndim} axes; mend it"
        )
    return numbers


def _levels(image: ZarrImage, scale: np.ndarray) -> list[str]:
    """A line where a further resolution covers another extent than the first."""
    first = np.array(image.array.shape) * scale
    for dataset in image.ome["datasets"][1:]:
        level = image.group.get(str(dataset.get("path")))
        if getattr(level, "ndim", None) != image.array.ndim:
            continue
        coarse, _, _ = _combined(image, dataset)
        apart = np.abs(np.array(level.shape) * coarse - first) / np.abs(scale)
        at = [image.axes.roles.index(role) for role in image.axes.spatial]
        if (apart > np.abs(coarse / scale) * (1 + SAME_PLACE))[at].any():
            return [
                f"the resolutions {image.array.basename} and {dataset['path']} cover extents that differ "
                f"by {apart[at].max():.3g} voxels: the scale of the first is taken"
            ]
    return []
