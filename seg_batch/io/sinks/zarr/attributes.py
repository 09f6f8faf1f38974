"""Metadata of a store for other programs: CF and GDAL for rasters, OME-NGFF for volumes.

Rasters: coordinate arrays ``x`` and ``y`` of pixel centres, ``spatial_ref`` (CF), and ``_CRS``, from
which GDAL 3.12 reads CRS and transform. Volumes and pictures without a place: an OME-NGFF 0.5 label image. All: the coordinates
``class`` and ``class_name``. What these can't express (rotations, control points, codes) is in the attribute ``segbatch``.
Arrays that ``coordinates`` names are coordinates in ``xarray.open_dataset`` without further options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, RasterGeoref, VolumeGeoref
from seg_batch.io.sinks.spec import StoreSpec

AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
_UNITS = {"mm": "millimeter", "meter": "meter", "micron": "micrometer"}


def annotate(group: Any, spec: StoreSpec) -> None:
    """Add coordinates and attributes to the group of ``spec``, whose ``labels`` exist."""
    labels = group["labels"]
    labels.attrs.update(_flags(spec))
    _class_coordinates(group, spec)
    arrays = [labels, *([group["probabilities"]] if spec.probabilities else [])]
    coordinates = ["class_name"]
    if isinstance(spec.georef, RasterGeoref) and is_plain(spec.georef):
        place(group, spec.extent, spec.georef)
        coordinates.append("spatial_ref")
        for array in arrays:
            array.attrs.update(_crs(spec.georef))
    elif is_label_image(spec.georef):
        group.attrs["ome"] = ome_of(spec)
    for array in arrays:
        array.attrs["coordinates"] = " ".join(coordinates)


def is_label_image(georef: Georef) -> bool:
    """Whether the axes of OME-NGFF can describe it: a volume, or a picture without a place on earth."""
    return isinstance(georef, VolumeGeoref) or georef == RasterGeoref()


def is_plain(georef: RasterGeoref) -> bool:
    """Whether two coordinate axes can describe the place of the pixels."""
    a, b, _, d, e, _ = georef.transform
    placed = georef.crs_wkt is not None or georef.transform != RasterGeoref().transform
    return placed and not (b or d) and a != 0 and e != 0


def _flags(spec: StoreSpec) -> dict[str, Any]:
    """The meaning of label values, by the CF conventions."""
    classes = spec.card.get("classes", ())
    return {
        "flag_values": [c["id"] for c in classes],
        "flag_meanings": " ".join(c["name"].replace(" ", "_") for c in classes),
        "flag_colors": " ".join("#{:02x}{:02x}{:02x}".format(*c["colour"]) for c in classes),
        "_FillValue": spec.fill,
    }


def _crs(georef: RasterGeoref) -> dict[str, Any]:
    crs = {"_CRS": {"wkt": georef.crs_wkt}} if georef.crs_wkt else {}
    return {"grid_mapping": "spatial_ref", **crs}


def _class_coordinates(group: Any, spec: StoreSpec) -> None:
    """``class``: the ids, which are also those of probabilities; ``class_name``."""
    classes = spec.card.get("classes", ())
    if len(classes) != spec.n_classes:
        return
    ids, names = (np.array([c[key] for c in classes]) for key in ("id", "name"))
    about = {"long_name": "label value"}, {"long_name": "name of the class"}
    for name, data, attributes in zip(("class", "class_name"), (ids, names), about, strict=True):
        group.create_array(name, data=data, dimension_names=("class",), attributes=attributes)


def place(group: Any, extent: Shape, georef: RasterGeoref) -> None:
    """The coordinates of pixels, and the CRS."""
    a, _, c, _, e, f = georef.transform
    for name, n, step, first in (("y", extent[0], e, f), ("x", extent[1], a, c)):
        centres = first + step * (np.arange(n) + 0.5)
        role = {"axis": name.upper(), "standard_name": f"projection_{name}_coordinate"}
        if georef.metres_per_unit is None:
            role.pop("standard_name")
        group.create_array(
            name, data=centres, chunks=(n,), dimension_names=(name,), attributes=role
        )
    mapping = {"GeoTransform": f"{c!r} {a!r} 0.0 {f!r} 0.0 {e!r}"}
    if georef.crs_wkt:
        mapping |= {"crs_wkt": georef.crs_wkt, "spatial_ref": georef.crs_wkt}
    group.create_array("spatial_ref", shape=(), dtype="int64", fill_value=0, attributes=mapping)


def ome_of(
    spec: StoreSpec, levels: Sequence[tuple[str, Shape]] = (("labels", ()),)
) -> dict[str, Any]:
    """A label image. ``levels``: the path of each array, and how many voxels of the first one its voxels take, per axis."""
    axes = AXES[len(spec.extent)]
    unit = {} if isinstance(spec.georef, RasterGeoref) else {"unit": _unit(spec.georef)}
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": "labels",
                "axes": [{"name": name, "type": "space", **unit} for name in axes],
                "datasets": [
                    {
                        "path": path,
                        "coordinateTransformations": _steps(spec.georef, taken or (1,) * len(axes)),
                    }
                    for path, taken in levels
                ],
                "type": "mode",
            }
        ],
        "image-label": {
            "colors": [
                {"label-value": c["id"], "rgba": [*c["colour"], 255]}
                for c in spec.card.get("classes", ())
            ],
            "properties": [
                {"label-value": c["id"], "class": c["name"]} for c in spec.card.get("classes", ())
            ],
        },
    }


def _unit(georef: Georef) -> str:
    assert isinstance(georef, VolumeGeoref)
    return _UNITS.get(georef.units, "millimeter")


def _steps(georef: Georef, taken: Shape) -> list[dict[str, Any]]:
    """Voxel sizes always; a translation where the axes are parallel to the world's, or where voxels take several of the
    first array, whose centres lie elsewhere."""
    spacing = georef.spacing if isinstance(georef, VolumeGeoref) else (1.0,) * len(taken)
    first = [0.0] * len(taken)
    if isinstance(georef, VolumeGeoref):
        matrix = georef.matrix
        if np.array_equal(matrix[:3, :3], np.diag(np.abs(np.diag(matrix)[:3]))):
            first = matrix[:3, 3][::-1].tolist()
    moved = [f + (n - 1) / 2 * size for f, n, size in zip(first, taken, spacing, strict=True)]
    scale = [n * size for n, size in zip(taken, spacing, strict=True)]
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    return [*steps, {"type": "translation", "translation": moved}] if any(moved) else steps
