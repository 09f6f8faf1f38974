"""The frames of an enhanced multi-frame file as slices (PS3.3 C.7.6.16): what its functional groups say of each.

A group stands with a frame, or once for all of them; that of the frame counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from seg_batch.io.dicom.one_file.moments import moment
from seg_batch.io.dicom.one_file.values import Values
from seg_batch.io.dicom.series import Marks, Slice

# Dimensions that say where a frame is, not which of several at one place: ImagePositionPatient, its position on an axis,
# InStackPositionNumber, PlanePositionSequence, StackID, ImageOrientationPatient.
_PLACES = {0x00200032, 0x00209057, 0x00209113, 0x00209056, 0x00200037, 0x00209116, 0x00200242}


def frames(values: Values, plane: Slice, count: int) -> list[Slice]:
    """A slice for each frame. Where the items are fewer than ``count``, the others have a fault."""
    shared = values.item("SharedFunctionalGroupsSequence")
    items = values.items("PerFrameFunctionalGroupsSequence")
    beside = _beside_places(values)
    slices = []
    for n, item in enumerate(items[:count]):
        slices.append(_Frame(shared, Values(item), beside).slice(plane, n))
    if len(items) != count:
        fault = f"it has {count} frames and functional groups of {len(items)}"
        slices = [replace(each, fault=each.fault or fault) for each in slices or [plane]]
    return slices


def _beside_places(values: Values) -> tuple[int, ...]:
    """Which of the DimensionIndexValues are of no place."""
    pointers = [
        Values(item).whole("DimensionIndexPointer")
        for item in values.items("DimensionIndexSequence")
    ]
    return tuple(i for i, pointer in enumerate(pointers) if pointer not in _PLACES)


@dataclass(frozen=True)
class _Frame:
    """The functional groups of one frame and of all."""

    shared: Values
    own: Values
    beside: tuple[int, ...]

    def group(self, keyword: str) -> Values:
        return (self.own if self.own.items(keyword) else self.shared).item(keyword)

    def slice(self, plane: Slice, n: int) -> Slice:
        measures = self.group("PixelMeasuresSequence")
        rescale = self.group("PixelValueTransformationSequence")
        slope = rescale.number("RescaleSlope", decides=True)
        shift = rescale.number("RescaleIntercept", decides=True)
        content = self.group("FrameContentSequence")
        position = self.group("PlanePositionSequence")
        faced = self.group("PlaneOrientationSequence")
        place = position.numbers("ImagePositionPatient", 3, decides=True)
        facing = faced.numbers("ImageOrientationPatient", 6, decides=True)
        spacing = measures.numbers("PixelSpacing", 2, decides=True)
        faults = "; ".join([*self.own.faults, *self.shared.faults])
        return replace(
            plane,
            frame=n,
            number=n + 1,
            position=place or plane.position,
            orientation=facing or plane.orientation,
            pixel_mm=spacing or plane.pixel_mm,
            slope=plane.slope if slope is None else slope,
            intercept=plane.intercept if shift is None else shift,
            marks=self.marks(content),
            fault=plane.fault or faults,
        )

    def marks(self, content: Values) -> Marks:
        weighted = self.group("MRDiffusionSequence")
        b = weighted.number("DiffusionBValue")
        towards = weighted.item("DiffusionGradientDirectionSequence")
        direction = towards.numbers("DiffusionGradientOrientation", 3)
        indices = content.numbers("DimensionIndexValues", len(_parts(content))) or ()
        return Marks(
            temporal=content.whole("TemporalPositionIndex"),
            echo=self.group("MREchoSequence").number("EffectiveEchoTime"),
            diffusion=() if b is None else (b, *(direction or ())),
            trigger_ms=self.group("CardiacSynchronizationSequence").number(
                "NominalCardiacTriggerDelayTime"
            ),
            acquisition=content.whole("FrameAcquisitionNumber"),
            moment=moment(content.text("FrameAcquisitionDateTime")),
            kind=self._kind(),
            stack=content.text("StackID"),
            indices=tuple(int(indices[i]) for i in self.beside if i < len(indices)),
        )

    def _kind(self) -> tuple[str, ...]:
        for keyword in (
            "MRImageFrameTypeSequence",
            "CTImageFrameTypeSequence",
            "PETFrameTypeSequence",
        ):
            if kind := self.group(keyword).texts("FrameType"):
                return kind
        return ()


def _parts(content: Values) -> tuple[str, ...]:
    return content.texts("DimensionIndexValues")
