"""The series that labels are of: its slices in order, and the header of its first file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from seg_batch.core.errors import OutputError
from seg_batch.core.geometry import Shape
from seg_batch.core.georef import Georef, georef_differences
from seg_batch.core.registry.formats import PRODUCTS
from seg_batch.io.dicom.series import Series
from seg_batch.io.dicom.tree import tree_at
from seg_batch.io.sinks.dicom_seg.texts import uid_of
from seg_batch.io.sinks.dicom_seg.usable import is_uid, refusing, usable
from seg_batch.io.sources.formats.dicom.source import DicomSource, open_dicom
from seg_batch.io.sources.views.image_spec import ImageSpec

USUAL = PRODUCTS["nifti"].endings[0]
_SAME = 1e-6  # of a number of an affine


@dataclass(frozen=True)
class Origin:
    """``series``: its slices along their normal, slice ``k`` that of plane ``k`` of the labels."""

    path: str
    series: Series
    extent: Shape
    georef: Georef

    @property
    def frame_of_reference(self) -> str:
        """The series' own; where it names none, one for all that is made of it: readers place nothing without."""
        facts = self.series.facts
        return self._own_frame or uid_of("frame of reference", facts.uid)

    @property
    def _own_frame(self) -> str:
        own = self.series.facts.frame_of_reference
        return own if is_uid(own) else ""

    @property
    def warnings(self) -> list[str]:
        if self._own_frame:
            return []
        return ["the headers name no frame of reference; what refers to them gets one of its own"]

    def first_header(self) -> Dataset:
        """What of the header of the first slice's file may be written again."""
        with (
            refusing(self.path, "file of its series"),
            tree_at(self.path).open(self.series.slices[0].file) as file,
        ):
            return usable(pydicom.dcmread(file, stop_before_pixels=True))

    def of_one_slice(self) -> Origin:
        """The same of the first slice alone, on which it is tried whether a file can be made."""
        series = replace(self.series, slices=self.series.slices[:1])
        return replace(self, series=series, extent=(1, *self.extent[1:]))


def origin_of(image: ImageSpec | None, extent: Shape, georef: Georef, ending: str) -> Origin:
    """The series of an image whose labels have this extent and place; of several files the first. OutputError where
    they can't be said to lie on its slices."""
    if image is None:
        raise OutputError(f"a {ending} is made of labels of a DICOM series: use another ending")
    path = image.paths[0]
    with closing(
        open_dicom(Path(path), volume=image.volume, series=image.series, names=image.series_files)
    ) as source:
        assert isinstance(source, DicomSource)
        info, series = source.info, source.series
    if info.extent != extent or georef_differences(info.georef, georef, _SAME):
        raise OutputError(
            f"{path}: the labels lie on another grid than the slices of the series, and {ending} "
            f"holds none but those: leave out --output-grid model, or use {USUAL}"
        )
    if lacking := _lacking(series):
        raise OutputError(
            f"{path}: its headers have no usable {lacking}, which a {ending} refers to: use {USUAL}"
        )
    return Origin(path, series, info.extent, info.georef)


def _lacking(series: Series) -> str:
    facts = series.facts
    needed = {
        "StudyInstanceUID": is_uid(facts.study_uid),
        "SeriesInstanceUID": is_uid(facts.uid),
        "SOPClassUID": is_uid(facts.sop_class),
        "SOPInstanceUID": all(is_uid(one.sop_uid) for one in series.slices),
    }
    return ", ".join(name for name, there in needed.items() if not there)
