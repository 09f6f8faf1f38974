"""Where the slices of a series lie: their order along the normal, and the affine of the volume they make.

With the direction cosines ``r`` (along rows) and ``c`` (down columns), the distances ``dj`` between columns and
``di`` between rows, and the step ``s`` from one slice to the next, the voxel ``(i, j, k)`` of column, row
and slice lies at ``LPS = r dj i + c di j + s k + p0`` (PS3.3 C.7.6.2.1.1). Volumes here are RAS+: x and y change sign.
``s`` is along the normal unless the gantry is tilted: then it leads across it, and the affine is sheared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.georef import VolumeGeoref
from seg_batch.core.units import counted
from seg_batch.io.dicom.one_series.checks import named, require_image
from seg_batch.io.dicom.one_series.evenness import (
    ONE_PLACE_MM,
    WHOLE_STEPS,
    off_line,
    off_place_mm,
    usual_gap,
)
from seg_batch.io.dicom.series import Series, Slice

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ROUNDED_MM = 0.02  # by which a distance may differ from a statement of it, or drift and be no tilt
_AGREES = 0.02  # part of a distance by which a header's statement of it may be rounded
_GAP_OF_SLICES = 1.95  # thicknesses apart, slices may lack others between them
_TILT_DEGREES = 0.05  # less is rounding; a gantry is tilted by degrees
_AGAIN = "copy the series again from its origin, or give a folder that holds one volume alone"


def placed(path: object, series: Series) -> tuple[Series, VolumeGeoref, tuple[str, ...]]:
    """The series with its slices along their normal, its georeference, and warnings. ``InputError`` where they
    make no even volume: a slice is missing or doubled, or they differ in size, direction or kind."""
    require_image(path, series)
    stack = _Stack.of(path, series)
    step, warnings = stack.step()
    first = stack.slices[0]
    rows, columns = stack.rows, stack.columns
    between_rows, between_columns = first.pixel_mm or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * between_columns, columns * between_rows
    affine[:3, 2], affine[:3, 3] = step, first.position
    matrix = tuple(map(tuple, (_LPS_TO_RAS @ affine + 0.0).tolist()))
    georef = VolumeGeoref(affine=matrix, sform=matrix, sform_code=1)
    return replace(series, slices=stack.slices), georef, warnings


def normal_of(one: Slice) -> np.ndarray:
    """The unit vector across a slice, in LPS; 0 where its orientation is nonsense."""
    rows, columns = np.split(np.array(one.orientation, float), 2)
    normal = np.cross(rows, columns)
    length = float(np.linalg.norm(normal))
    unit: np.ndarray = normal / length if 0 < length < math.inf else np.zeros(3)
    return unit


@dataclass(frozen=True)
class _Stack:
    """Slices in the order of their places. ``along``: these places on the normal, in mm."""

    path: object
    series: Series
    slices: tuple[Slice, ...]
    rows: np.ndarray
    columns: np.ndarray
    normal: np.ndarray
    positions: np.ndarray
    along: np.ndarray

    @classmethod
    def of(cls, path: object, series: Series) -> _Stack:
        first = series.slices[0]
        rows, columns = (v / np.linalg.norm(v) for v in np.split(np.array(first.orientation), 2))
        normal = normal_of(first)
        slices = sorted(series.slices, key=lambda s: float(np.dot(normal, s.position or ())))
        positions = np.array([s.position for s in slices])
        return cls(
            path, series, tuple(slices), rows, columns, normal, positions, positions @ normal
        )

    def step(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """From one slice to the next, in LPS and mm, and warnings."""
        if len(self.slices) == 1:
            return self._step_of_one()
        gaps = np.diff(self.along)
        usual = usual_gap(gaps)
        self._require_single(gaps, usual)
        off = off_line(self.positions)
        self._require_even(gaps, usual, off)
        if len(self.slices) == 2:
            self._require_stated(usual)
        step: np.ndarray = (self.positions[-1] - self.positions[0]) / (len(self.positions) - 1)
        self._require_straight(usual, off)
        return step, tuple(filter(None, (self._tilt(step), self._otherwise_stated(usual))))

    def _step_of_one(self) -> tuple[np.ndarray, tuple[str, ...]]:
        facts = self.series.facts
        stated = facts.thickness_mm or facts.between_mm
        if stated is None or not 0 < stated < 1e6:
            return self.normal, ("a single slice of unknown thickness: 1 mm is assumed",)
        return self.normal * stated, (f"a single slice: its thickness of {stated:g} mm is taken",)

    def _require_single(self, gaps: np.ndarray, usual: float) -> None:
        largest = float(gaps.max())
        least = WHOLE_STEPS * (usual if usual > ONE_PLACE_MM / 2 else largest)
        at = int(np.argmin(gaps))
        if gaps[at] > max(least, 1e-4):
            return
        doubled = int((gaps <= max(least, 1e-4)).sum())
        raise InputError(
            f"{self.path}: {counted(doubled, 'slice')} doubled: {named(self.slices[at])} and {named(self.slices[at + 1])} lie at the "
            f"same place, {self.along[at]:.4g} mm along the normal, and no header tells them apart as volumes of one series; "
            f"{_AGAIN}"
        )

    def _require_even(self, gaps: np.ndarray, usual: float, off: np.ndarray) -> None:
        """Each slice at its place along the normal. A gap has the errors of two slices in it, and decides nothing."""
        apart = np.abs(gaps - usual)
        along = off @ self.normal
        if np.abs(np.outer(along, self.normal)).max() <= off_place_mm(usual):
            return
        missing = np.round(gaps / usual).astype(int) - 1
        whole = (missing > 0) & (np.abs(gaps / usual - missing - 1) < WHOLE_STEPS)
        if whole.any():
            at, count = int(np.argmax(whole)), int(missing[whole].sum())
            raise InputError(
                f"{self.path}: {counted(count, 'slice')} missing: slices are {usual:.4g} mm apart, and {gaps[at]:.4g} mm after "
                f"{self.along[at]:.4g} mm along the normal, between {named(self.slices[at])} and {named(self.slices[at + 1])}; {_AGAIN}"
            )
        at = int(np.argmax(apart))
        raise InputError(
            f"{self.path}: slices of uneven spacing: {usual:.4g} mm apart, and {gaps[at]:.4g} mm after {self.along[at]:.4g} mm along the "
            f"normal, between {named(self.slices[at])} and {named(self.slices[at + 1])}; a volume has one spacing: resample it with a "
            "program that keeps each slice at its place"
        )

    def _require_stated(self, usual: float) -> None:
        """Of two slices the distance may be a gap: a header has to say it."""
        facts = self.series.facts
        stated = [value for value in (facts.between_mm, facts.thickness_mm) if value]
        if any(abs(value - usual) <= max(_ROUNDED_MM, _AGREES * usual) for value in stated):
            return
        what = (
            f"they say {' and '.join(f'{v:g} mm' for v in stated)}" if stated else "they say none"
        )
        raise InputError(
            f"{self.path}: two slices, {usual:.4g} mm apart, a distance that their headers don't confirm ({what}): a missing slice "
            f"between them would not be noticed; {_AGAIN}"
        )

    def _require_straight(self, usual: float, off: np.ndarray) -> None:
        """All positions on one line in even steps: a constant tilt leads across the normal, but straight."""
        if np.abs(off).max() <= off_place_mm(usual):
            return
        far = np.linalg.norm(off, axis=1)
        at = int(np.argmax(far))
        across = off - np.outer(off @ self.normal, self.normal)
        drifts = float(np.linalg.norm(across[at])) > off_place_mm(usual) / 2
        what = "drift sideways, by no constant tilt" if drifts else "are of uneven spacing"
        raise InputError(
            f"{self.path}: slices {what}: {named(self.slices[at])}, {self.along[at]:.4g} mm along the normal, lies {far[at]:.3g} mm off "
            f"the line of the others; a volume is a straight stack: resample it with a program that keeps each slice at its place"
        )

    def _tilt(self, step: np.ndarray) -> str:
        along = float(step @ self.normal)
        across = float(np.linalg.norm(step - along * self.normal))
        degrees = math.degrees(math.atan2(across, along))
        if degrees < _TILT_DEGREES or across * (len(self.slices) - 1) <= _ROUNDED_MM:
            return ""
        return (
            f"the gantry is tilted by {degrees:.1f} degrees: the affine is sheared, and labels lie on the tilted slices; "
            "programs that know no shear show them askew"
        )

    def _otherwise_stated(self, usual: float) -> str:
        """What headers say of the distance, where it is another. A thickness alone says nothing of a small gap."""
        facts = self.series.facts
        between = abs(facts.between_mm or 0.0)
        positions = f"their positions say {usual:.4g} mm: the positions are taken"
        if between < 1e-4:
            thickness = facts.thickness_mm or 0.0
            if thickness <= 0 or usual < _GAP_OF_SLICES * thickness:
                return ""
            return f"headers say {thickness:g} mm thick slices and nothing of a gap, {positions}; every other slice may be missing"
        if abs(between - usual) <= max(_ROUNDED_MM, _AGREES * usual):
            return ""
        steps = usual / between
        skips = steps > 1.5 and abs(steps - round(steps)) < 0.02
        return f"headers say {facts.between_mm:g} mm between slices, {positions}" + (
            "; every other slice may be missing" * skips
        )
