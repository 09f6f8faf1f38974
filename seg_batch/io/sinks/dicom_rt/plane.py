"""Points of a slice in the patient, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_batch.core.errors import OutputError
from seg_batch.io.dicom.series import Slice
from seg_batch.io.sinks.dicom_seg.origin import USUAL, Origin

_DIGITS = "%.4f"  # of a mm
_LEAST_MM = 1e-3  # between points that these digits tell apart


def require_apart(origin: Origin, ending: str) -> None:
    """OutputError for a series whose pixels are so small that corners of contours would fall together."""
    at = origin.series.slices[0]
    least = min(at.pixel_mm or (1.0,))
    if least < _LEAST_MM:
        raise OutputError(
            f"{origin.path}: its pixels are {least:g} mm wide, and a {ending} tells apart what lies {_LEAST_MM:g} mm apart or "
            f"more: use {USUAL}"
        )


@dataclass(frozen=True)
class Plane:
    """``start``: the centre of the first voxel, in LPS and mm; ``steps``: from column to column and from row to row,
    ``(2, 3)``."""

    start: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, at: Slice) -> Plane:
        rows, columns = np.split(np.array(at.orientation), 2)
        between_rows, between_columns = at.pixel_mm or (1.0, 1.0)
        steps = np.array([rows * between_columns, columns * between_rows])
        return cls(np.array(at.position), steps)

    def text(self, points: np.ndarray) -> bytes:
        """Points ``(n, 2)`` of ``x, y`` as ContourData."""
        numbers = (self.start + points @ self.steps + 0.0).ravel().tolist()
        data = "\\".join([_DIGITS % number for number in numbers]).encode()
        return data + b" " * (len(data) % 2)

    def points(self, data: bytes) -> tuple[np.ndarray, float]:
        """``x, y`` of what ``text`` gave, and how far the points lie beside the plane, in mm."""
        beside = np.array(data.split(b"\\"), np.float64).reshape(-1, 3) - self.start
        points = beside @ np.linalg.pinv(self.steps)
        return points, float(np.abs(beside - points @ self.steps).max())
