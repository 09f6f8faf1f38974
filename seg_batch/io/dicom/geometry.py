"""Where the slices of a series lie: their order along the normal, and the affine of the volume they make.

With the direction cosines ``r`` (along rows) and ``c`` (down columns), the distances ``dj`` between columns and
``di`` between rows, and the step ``s`` from one slice to the next, the voxel ``(i, j, k)`` of column, row
and slice lies at ``LPS = r dj i + c di j + s k + p0`` (PS3.3 C.7.6.2.1.1). Volumes here are RAS+: x and y change sign.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.dicom.series import Series

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EVEN = 0.01  # part of a step by which slices may lie elsewhere
_UPRIGHT = 1e-4  # of a step across the normal, for each mm along it: more is a tilt


def placed(path: object, series: Series) -> tuple[Series, VolumeGeoref, tuple[str, ...]]:
    """The series with its slices along their normal, its georeference, and warnings. ``InputError`` where they
    make no even volume: a slice is missing or doubled, or they differ in size or direction."""
    if any(
        s.position is None or s.orientation is None or s.pixel_mm is None for s in series.slices
    ):
        raise InputError(
            f"{path}: slices without position, orientation or pixel spacing; they have no place in a patient"
        )
    first = series.slices[0]
    rows, columns = np.split(np.array(first.orientation), 2)
    normal = np.cross(rows, columns)
    slices = sorted(series.slices, key=lambda s: float(np.dot(normal, s.position or ())))
    positions = np.array([s.position for s in slices])
    step = _step(path, series, positions, normal)
    between_rows, between_columns = first.pixel_mm or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * between_columns, columns * between_rows
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    matrix = tuple(map(tuple, (_LPS_TO_RAS @ affine).tolist()))
    georef = VolumeGeoref(affine=matrix, sform=matrix, sform_code=1)
    return replace(series, slices=tuple(slices)), georef, ()


def _step(path: object, series: Series, positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """From one slice to the next, in LPS and mm."""
    if len(positions) == 1:
        return normal * (series.facts.between_mm or series.facts.thickness_mm or 1.0)
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if (gaps < _EVEN * abs(usual)).any():
        at = int(np.argmin(gaps))
        raise InputError(
            f"{path}: two slices at {along[at]:g} mm along the normal; a slice is doubled"
        )
    if (np.abs(gaps - usual) > _EVEN * usual).any():
        at = int(np.argmax(np.abs(gaps - usual)))
        raise InputError(
            f"{path}: slices are {usual:g} mm apart, but {gaps[at]:g} mm after {along[at]:g} mm; one may be missing"
        )
    step: np.ndarray = (positions[-1] - positions[0]) / (len(positions) - 1)
    return step
