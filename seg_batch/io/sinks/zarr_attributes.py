"""Metadata of a store for other programs: CF and GDAL for rasters, OME-NGFF for volumes.

Rasters: coordinate arrays ``x`` and ``y`` of pixel centres, ``spatial_ref`` (CF), and ``_CRS``, from
which GDAL 3.12 reads CRS and transform. Volumes: OME-NGFF 0.5 ``multiscales`` with one scale. What
these can't express (rotations, control points, codes) is in the attribute ``segbatch``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_batch.core.geometry import Shape
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.io.sinks.spec import StoreSpec

AXES = {2: ("y", "x"), 3: ("z", "y", "x")}
_UNITS = {"mm": "millimeter", "meter": "meter", "micron": "micrometer"}


def annotate(group: Any, spec: StoreSpec) -> None:
    """Add coordinates and attributes to the group of ``spec``, whose ``labels`` exist."""
    labels = group["labels"]
    labels.attrs.update(_classes(spec))
    if isinstance(spec.georef, VolumeGeoref):
        group.attrs["ome"] = _ome(spec, spec.georef)
    elif is_plain(spec.georef):
        arrays = [labels, *([group["probabilities"]] if spec.probabilities else [])]
        _coordinates(group, spec.extent, spec.georef)
        for array in arrays:
            array.attrs.update(_crs(spec.georef))


def is_plain(georef: RasterGeoref) -> bool:
    """Whether two coordinate axes can describe the place of the pixels."""
    a, b, _, d, e, _ = georef.transform
    placed = georef.crs_wkt is not None or georef.transform != RasterGeoref().transform
    return placed and not (b or d) and a != 0 and e != 0


def _classes(spec: StoreSpec) -> dict[str, Any]:
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


def _coordinates(group: Any, extent: Shape, georef: RasterGeoref) -> None:
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


def _ome(spec: StoreSpec, georef: VolumeGeoref) -> dict[str, Any]:
    """Voxel sizes always; a translation only where the axes are parallel to the world's."""
    unit = _UNITS.get(georef.units, "millimeter")
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": list(georef.spacing)}]
    matrix = georef.matrix
    if np.array_equal(matrix[:3, :3], np.diag(np.abs(np.diag(matrix)[:3]))):
        steps.append({"type": "translation", "translation": matrix[:3, 3][::-1].tolist()})
    colours = [
        {"label-value": c["id"], "rgba": [*c["colour"], 255]} for c in spec.card.get("classes", ())
    ]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": "labels",
                "axes": [{"name": name, "type": "space", "unit": unit} for name in AXES[3]],
                "datasets": [{"path": "labels", "coordinateTransformations": steps}],
            }
        ],
        "image-label": {"version": "0.5", "colors": colours},
    }
