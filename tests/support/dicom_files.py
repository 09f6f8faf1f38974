"""DICOM files for tests, made with pydicom: classic series, one file per slice, and enhanced multi-frame files.

Pixels are ``f(z, y, x)`` without symmetry (``addresses``), and positions follow one another as the caller says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
STORED_AS: dict[str, UID] = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}
ENHANCED_AS: dict[str, UID] = {
    "CT": EnhancedCTImageStorage,
    "MR": EnhancedMRImageStorage,
    "PT": LegacyConvertedEnhancedPETImageStorage,
}
LEGACY_AS: dict[str, UID] = {
    "CT": LegacyConvertedEnhancedCTImageStorage,
    "MR": LegacyConvertedEnhancedMRImageStorage,
    "PT": LegacyConvertedEnhancedPETImageStorage,
}

_BY_PYDICOM = (RLELossless, JPEGLSLossless, JPEGLSNearLossless)


def addresses(shape: tuple[int, int, int], dtype: Any = np.uint16, bits: int = 0) -> np.ndarray:
    """Each voxel's own number, ``(z, y, x)``, wrapped into ``bits`` of ``dtype``; signed ones begin below 0."""
    dtype = np.dtype(dtype)
    bits = bits or 8 * dtype.itemsize
    z, y, x = np.indices(shape, dtype=np.int64)
    number = ((z * shape[1] + y) * shape[2] + x) % (1 << min(bits, 40))
    return (number - (1 << (bits - 1) if dtype.kind == "i" else 0)).astype(dtype)


def oblique(*degrees: float) -> tuple[float, ...]:
    """Direction cosines of a plane that is turned about x, y and z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    return (*turn[:, 0], *turn[:, 1])


@dataclass(frozen=True)
class SeriesOf:
    """A series to be written. ``step``: from one slice to the next in LPS and mm, along the normal by ``spacing_mm``
    where it is None; ``pixel_mm``: between rows, between columns; ``slopes``: of each slice, with ``intercepts``.
    ``tags``: further ones, of every file; ``each``: of slice ``k``."""

    pixels: np.ndarray
    modality: str = "CT"
    orientation: Sequence[float] = AXIAL
    origin: Sequence[float] = (-31.25, 17.5, -102.75)
    pixel_mm: tuple[float, float] = (0.75, 0.5)
    spacing_mm: float = 2.5
    step: Sequence[float] | None = None
    slopes: Sequence[float] = (1.0,)
    intercepts: Sequence[float] = (0.0,)
    bits: int = 0
    syntax: str = ExplicitVRLittleEndian
    uid: str = ""
    study_uid: str = ""
    frame_of_reference: str = ""
    tags: Mapping[str, Any] | None = None
    each: Callable[[int], Mapping[str, Any]] | None = None

    def position(self, k: int) -> list[float]:
        """Of the first pixel of slice ``k``, in LPS."""
        rows, columns = np.split(np.array(self.orientation, float), 2)
        step = np.cross(rows, columns) * self.spacing_mm if self.step is None else self.step
        return [float(value) for value in np.array(self.origin) + k * np.array(step)]

    @property
    def affine(self) -> np.ndarray:
        """RAS of the voxel ``(i, j, k)`` = column, row, slice, in the order in which they are written."""
        rows, columns = np.split(np.array(self.orientation, float), 2)
        lps = np.eye(4)
        lps[:3, 0], lps[:3, 1] = rows * self.pixel_mm[1], columns * self.pixel_mm[0]
        lps[:3, 3] = self.position(0)
        lps[:3, 2] = np.array(self.position(1)) - self.position(0)
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def series_of(pixels: np.ndarray | tuple[int, int, int] = (5, 6, 7), **of: Any) -> SeriesOf:
    """A series with its UIDs; of a shape: with ``addresses`` for pixels."""
    values = addresses(pixels) if isinstance(pixels, tuple) else pixels
    series = SeriesOf(values, **of)
    return replace(
        series,
        uid=series.uid or generate_uid(),
        study_uid=series.study_uid or generate_uid(),
        frame_of_reference=series.frame_of_reference or generate_uid(),
    )


def write_series(
    folder: Path,
    series: SeriesOf | np.ndarray | tuple[int, int, int] = (5, 6, 7),
    *,
    names: Callable[[int], str] = "{:04d}".format,
    only: Sequence[int] | None = None,
    **of: Any,
) -> SeriesOf:
    """A classic series in ``folder``: the slices ``only``, or all; what was written."""
    series = series if isinstance(series, SeriesOf) else series_of(series, **of)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(len(series.pixels)) if only is None else only:
        save(slice_of(series, k), folder / names(k), series.syntax)
    return series


def slice_of(series: SeriesOf, k: int) -> FileDataset:
    """Slice ``k`` as a file, not yet written or compressed."""
    data = _common(series, STORED_AS[series.modality])
    data.InstanceNumber = k + 1
    data.ImagePositionPatient = [_text(value) for value in series.position(k)]
    data.ImageOrientationPatient = [_text(value) for value in series.orientation]
    data.PixelSpacing = [_text(value) for value in series.pixel_mm]
    data.SliceThickness = _text(series.spacing_mm)
    data.RescaleSlope = _text(series.slopes[k % len(series.slopes)])
    data.RescaleIntercept = _text(series.intercepts[k % len(series.intercepts)])
    data.RescaleType = {"CT": "HU", "PT": "BQML"}.get(series.modality, "US")
    _set_pixels(data, series.pixels[k], series)
    _set(data, series.each(k) if series.each else {})
    return data


def write_enhanced(
    path: Path,
    series: SeriesOf | np.ndarray | tuple[int, int, int] = (5, 6, 7),
    *,
    order: Sequence[int] | None = None,
    legacy: bool = False,
    shared: bool = True,
    groups: Callable[[int], Mapping[str, Any]] | None = None,
    **of: Any,
) -> SeriesOf:
    """One enhanced multi-frame file of the slices in ``order``. ``shared``: orientation, pixel measures and rescale
    stand once; else they stand with each frame. ``groups``: further functional groups of slice ``k``, as sequences
    of one item by keyword."""
    series = series if isinstance(series, SeriesOf) else series_of(series, **of)
    order = range(len(series.pixels)) if order is None else order
    kinds = LEGACY_AS if legacy else ENHANCED_AS
    data = _common(series, kinds[series.modality])
    same = len(series.slopes) == 1 and len(series.intercepts) == 1
    data.NumberOfFrames = len(order)
    data.SharedFunctionalGroupsSequence = Items([Dataset()])
    data.PerFrameFunctionalGroupsSequence = Items(
        [_frame(series, k, n) for n, k in enumerate(order)]
    )
    homes = list(data.PerFrameFunctionalGroupsSequence)
    for home, k in (
        [(data.SharedFunctionalGroupsSequence[0], 0)] if shared else zip(homes, order, strict=True)
    ):
        home.PlaneOrientationSequence = item(
            ImageOrientationPatient=list(map(_text, series.orientation))
        )
        home.PixelMeasuresSequence = item(
            PixelSpacing=list(map(_text, series.pixel_mm)), SliceThickness=_text(series.spacing_mm)
        )
        if same:
            home.PixelValueTransformationSequence = _rescale(series, k)
    for home, k in zip(homes, order, strict=True):
        if not same:
            home.PixelValueTransformationSequence = _rescale(series, k)
        for keyword, values in (groups(k) if groups else {}).items():
            setattr(home, keyword, item(**values))
    _set_pixels(data, series.pixels[list(order)], series)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(data, path, series.syntax)
    return series


def save(data: FileDataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Write a file in a transfer syntax, compressed where that is one of RLE, JPEG-LS or JPEG 2000."""
    kind = UID(syntax)
    data = FileDataset(
        "", data, b"\0" * 128, data.file_meta, kind.is_implicit_VR, kind.is_little_endian
    )
    if kind.is_encapsulated and kind in _BY_PYDICOM:
        data.compress(syntax, generate_instance_uid=False)
    elif kind.is_encapsulated:
        save(data, path)
        _compress_by_gdcm(path, kind)
        return
    data.file_meta.TransferSyntaxUID = kind
    if not kind.is_little_endian and "PixelData" in data:
        words = np.frombuffer(data.PixelData, f"u{data.BitsAllocated // 8}")
        data.PixelData = words.byteswap().tobytes()
    data.save_as(path, enforce_file_format=True)


def _compress_by_gdcm(path: Path, syntax: UID) -> None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read(), path
    change = gdcm.ImageChangeTransferSyntax()
    wanted = gdcm.TransferSyntax.GetTSType(str(syntax))
    change.SetTransferSyntax(gdcm.TransferSyntax(wanted))
    change.SetInput(reader.GetImage())
    assert change.Change(), syntax
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write(), path


def _common(series: SeriesOf, sop_class: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = series.study_uid, series.uid
    data.FrameOfReferenceUID = series.frame_of_reference
    data.Modality, data.SeriesNumber, data.SeriesDescription = series.modality, 3, "made for a test"
    data.PatientName, data.PatientID = "Nobody^Made Up", "made-up-1"
    data.PatientBirthDate, data.PatientSex = "19700101", "O"
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "1", "", ""
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200102"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "101500"
    data.Manufacturer, data.ImageType = "segbatch tests", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.PositionReferenceIndicator = ""
    _set(data, series.tags or {})
    return data


def _set_pixels(data: Dataset, pixels: np.ndarray, series: SeriesOf) -> None:
    bits = 8 * pixels.dtype.itemsize
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored = bits, series.bits or bits
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    if len(data.PixelData) % 2:
        data.PixelData += b"\0"
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in (series.tags or {}).items():
        if keyword in ("PhotometricInterpretation", "HighBit", "BitsStored"):
            setattr(data, keyword, value)


def _frame(series: SeriesOf, k: int, n: int) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = item(ImagePositionPatient=list(map(_text, series.position(k))))
    frame.FrameContentSequence = item(
        StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1]
    )
    return frame


def _rescale(series: SeriesOf, k: int) -> Items:
    return item(
        RescaleSlope=_text(series.slopes[k % len(series.slopes)]),
        RescaleIntercept=_text(series.intercepts[k % len(series.intercepts)]),
        RescaleType="HU" if series.modality == "CT" else "US",
    )


def item(**values: Any) -> Items:
    item = Dataset()
    _set(item, values)
    return Items([item])


def _set(data: Dataset, values: Mapping[str, Any]) -> None:
    """``None`` takes a tag away."""
    for keyword, value in values.items():
        if value is None:
            data.pop(keyword, None)
        else:
            setattr(data, keyword, value)


def _text(value: float) -> str:
    """As a decimal string of at most 16 characters."""
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.6g}"
