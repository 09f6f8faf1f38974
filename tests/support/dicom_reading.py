"""A DICOM series as segbatch reads it, and as SimpleITK does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK

from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.sources.formats.dicom.source import open_dicom
from seg_batch.io.sources.protocol import SourceInfo


def read(path: Path, **choice: object) -> tuple[SourceInfo, Pixels]:
    """The facts and all voxels of a series."""
    source = open_dicom(path, **choice)  # type: ignore[arg-type]
    try:
        return source.info, source.read(Box.whole(source.info.extent))
    finally:
        source.close()


def by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Affine (RAS) and values ``(z, y, x)``."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, SimpleITK.GetArrayFromImage(image)
