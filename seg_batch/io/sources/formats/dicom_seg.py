"""A DICOM segmentation (PS3.3 A.51) as a volume of labels: LABELMAP, or BINARY whose segments don't overlap.

The extent is ``z, y, x`` = plane, row, column; planes follow one another along their normal. A plane without a frame
is background.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import as_pixel_options, get_decoder

from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Pixels
from seg_batch.io.dicom.geometry import placed
from seg_batch.io.dicom.series import Series, SeriesFacts, Slice, Vector
from seg_batch.io.sources.identity import file_identity
from seg_batch.io.sources.protocol import SourceInfo, read_error, require_inside
from seg_batch.io.sources.valid_mask import valid_mask

BINARY, LABELMAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
LABEL = "label {}"  # how the description of a segment begins whose number is not its label
BACKGROUND = "background {}"  # how the description of a file begins whose background is not label 0
_LABEL, _BACKGROUND = re.compile(r"label (\d{1,5})\b"), re.compile(r"background (\d{1,5})\b")
_DECIMALS = 3  # of a position in mm: frames that differ by less lie on one plane
_LATTICE = 0.01  # part of a step by which planes may lie beside their places


@dataclass(frozen=True)
class Frames:
    """The frames of a segmentation. ``of_plane``: for each plane, the indices of its frames and the numbers of their
    segments (0: of a label map); ``labels``: of each segment number; ``names``: of each label."""

    series: Series
    of_plane: tuple[tuple[tuple[int, int], ...], ...]
    labels: dict[int, int]
    names: dict[int, str]
    header: Dataset
    first_byte: int


class SegSource:
    """The labels of one file; ``read`` gives ``(z, y, x, 1)``. Frames are decoded as they are read."""

    def __init__(self, path: Path, info: SourceInfo, frames: Frames) -> None:
        self.info, self.frames = info, frames
        self._lock, self._file = threading.Lock(), path.open("rb")
        header = frames.header
        self._labelmap = header.SOPClassUID == LABELMAP
        self._bits = header.BitsAllocated == 1 and not _syntax(header).is_encapsulated
        self._values = _values_of(frames.labels, np.dtype(info.dtype))

    def read(self, box: Box) -> Pixels:
        require_inside(self.info, box)
        z, *plane = box.slices()
        values = np.full(box.shape, self._values[0], self.info.dtype)
        try:
            for out, k in zip(values, range(z.start, z.stop), strict=True):
                self._fill(out, k, tuple(plane))
        except ReadError:
            raise
        except Exception as error:  # decoders raise errors of any kind
            raise read_error(self.info, box, error) from error
        values = values[..., None]
        return Pixels(values, valid_mask(values, ((),)), None, None)

    def _fill(self, out: np.ndarray, k: int, plane: tuple[slice, ...]) -> None:
        """The labels of a part of plane ``k``."""
        taken = np.zeros(out.shape, bool)
        for frame, segment in self.frames.of_plane[k]:
            stored = self._frame(frame)[plane]
            if self._labelmap:
                out[...] = self._values[stored]
                continue
            mask = stored != 0
            if (mask & taken).any():
                raise ReadError(
                    f"{self.info.path}: segments overlap on plane {k}, so its voxels have no one label; "
                    "write them without overlap"
                )
            out[mask] = self._values[segment]
            taken |= mask

    def _frame(self, index: int) -> np.ndarray:
        header = self.frames.header
        with self._lock:
            if self._bits:
                return self._unpacked(index, header.Rows, header.Columns)
            self._file.seek(self.frames.first_byte)
            decoder = get_decoder(_syntax(header))
            options = as_pixel_options(header, pixel_keyword="PixelData", pixel_vr="OB")
            options["transfer_syntax_uid"] = _syntax(header)
            values: np.ndarray = decoder.as_array(self._file, index=index, raw=True, **options)[0]
        return values

    def _unpacked(self, index: int, rows: int, columns: int) -> np.ndarray:
        """Of a frame of single bits, which need not begin at a byte (PS3.5 8.1.1)."""
        first = index * rows * columns
        start, stop = first // 8, -(-(first + rows * columns) // 8)
        self._file.seek(self.frames.first_byte + start)
        packed = np.frombuffer(self._file.read(stop - start), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[first % 8 :]
        return bits[: rows * columns].reshape(rows, columns)

    def close(self) -> None:
        self._file.close()


def _syntax(header: Dataset) -> Any:
    return header.file_meta.TransferSyntaxUID


def _values_of(labels: dict[int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """The label of each segment number that a label map may hold."""
    values = np.zeros(1 << 16, dtype)
    values[:] = labels[0]
    values[list(labels)] = list(labels.values())
    return values


def open_dicom_seg(
    path: Path, *, volume: int | None = None, staged: Path | None = None
) -> SegSource:
    """The segmentation at ``path``; ``InputError`` where its frames are no volume of labels."""
    if volume is not None:
        raise InputError(f"{path}: a segmentation has no volume {volume}; leave out --volume")
    frames = read_frames(path)
    header = frames.header
    chosen, georef, warnings = placed(path, frames.series)
    most = max(frames.labels.values())
    info = SourceInfo(
        path=str(path),
        format="dicom_seg",
        kind="volume",
        extent=(len(chosen.slices), header.Rows, header.Columns),
        channels=("labels",),
        dtype="uint8" if most < 1 << 8 else "uint16",
        georef=georef,
        chunk=(1, header.Rows, header.Columns),
        nodata=(None,),
        identity=file_identity(path),
        warnings=warnings,
        facts={
            "modality": "SEG",
            "type": str(header.SegmentationType),
            "segments": {str(label): name for label, name in frames.names.items()},
            "block_bytes": header.Rows * header.Columns * 4,
        },
    )
    return SegSource(path, info, frames)


def read_frames(path: Path) -> Frames:
    """What the header says of segments and frames; ``InputError`` where they make no labels."""
    if read_file_meta_info(path).TransferSyntaxUID.is_deflated:
        raise InputError(
            f"{path}: a deflated segmentation, which may unpack to any size; write it in another syntax"
        )
    with path.open("rb") as file:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        first_byte = file.tell() + 12  # tag, VR, and 4 bytes of length
    kind = str(header.get("SegmentationType", ""))
    if not (kind and header.get("SegmentSequence")):
        raise InputError(
            f"{path}: a segmentation whose header names no segments: it is cut short; copy it again"
        )
    if kind not in ("BINARY", "LABELMAP"):
        raise InputError(
            f"{path}: a segmentation of type {kind}, whose voxels have no one label; "
            "use one of type BINARY or LABELMAP"
        )
    if header.get("SegmentsOverlap") == "YES":
        raise InputError(
            f"{path}: its segments overlap, so voxels have no one label; write them without overlap"
        )
    labels, names = _segments(header)
    planes = _planes(header)
    series, of_plane = _volume(path, header, planes)
    implicit = _syntax(header).is_implicit_VR
    return Frames(
        series, of_plane, labels, names, header, first_byte - 4 if implicit else first_byte
    )


def _segments(header: Dataset) -> tuple[dict[int, int], dict[int, str]]:
    """Labels by segment number, with the background as 0, and names by label."""
    is_map = header.SegmentationType == "LABELMAP"
    background = int(header.get("PixelPaddingValue", 0)) if is_map else 0
    said = _BACKGROUND.match(str(header.get("ContentDescription", "")))
    labels, names = {0: int(said[1]) if said else 0}, dict[int, str]()
    labels[background] = labels[0]
    for item in header.SegmentSequence:
        number = int(item.SegmentNumber)
        if number == background:
            continue
        said = _LABEL.match(str(item.get("SegmentDescription", "")))
        labels[number] = int(said[1]) if said else number
        names[labels[number]] = str(item.SegmentLabel)
    return labels, names


def _planes(header: Dataset) -> list[tuple[Vector, int]]:
    """Of each frame: position and segment number, 0 for a label map."""
    shared = header.SharedFunctionalGroupsSequence[0]
    planes = []
    for item in header.PerFrameFunctionalGroupsSequence:
        home = item if "PlanePositionSequence" in item else shared
        position = tuple(map(float, home.PlanePositionSequence[0].ImagePositionPatient))
        home = item if "SegmentIdentificationSequence" in item else shared
        of = home.get("SegmentIdentificationSequence")
        planes.append((position, int(of[0].ReferencedSegmentNumber) if of else 0))
    return planes


def _volume(
    path: Path, header: Dataset, planes: list[tuple[Vector, int]]
) -> tuple[Series, tuple[tuple[tuple[int, int], ...], ...]]:
    """The planes as slices along their normal, with those between them that have no frame, and the frames of each."""
    shared, first = (
        header.SharedFunctionalGroupsSequence[0],
        header.PerFrameFunctionalGroupsSequence[0],
    )
    home = shared if "PlaneOrientationSequence" in shared else first
    orientation = tuple(map(float, home.PlaneOrientationSequence[0].ImageOrientationPatient))
    home = shared if "PixelMeasuresSequence" in shared else first
    measures = home.PixelMeasuresSequence[0]
    normal = np.cross(orientation[:3], orientation[3:])
    frames = defaultdict[Vector, list[tuple[int, int]]](list)
    for index, (position, segment) in enumerate(planes):
        frames[tuple(round(value, _DECIMALS) for value in position)].append((index, segment))
    places = sorted(frames, key=lambda place: float(np.dot(normal, place)))
    exact = [planes[frames[place][0][0]][0] for place in places]
    positions, at = _with_gaps(exact, normal, measures.get("SpacingBetweenSlices"))
    of_plane = [tuple[tuple[int, int], ...]() for _ in positions]
    for place, k in zip(places, at, strict=True):
        of_plane[k] = tuple(frames[place])
    slices = tuple(
        Slice(
            file="",
            frame=k,
            sop_uid=str(header.SOPInstanceUID),
            number=k,
            rows=header.Rows,
            columns=header.Columns,
            position=position,
            orientation=orientation,
            pixel_mm=tuple(map(float, measures.PixelSpacing)),
        )
        for k, position in enumerate(positions)
    )
    return Series(str(header.SeriesInstanceUID), _facts(header, measures), slices), tuple(of_plane)


def _with_gaps(
    exact: list[Vector], normal: np.ndarray, between: Any
) -> tuple[list[Vector], list[int]]:
    """Positions with those between them that have no frame, and the index of each given one. Given ones that lie on no
    lattice stay as they are, to be refused by their place."""
    along = np.array(exact) @ normal
    if len(exact) < 2:
        return exact, list(range(len(exact)))
    step = float(between) if between else float(np.diff(along).min())
    at = (along - along[0]) / step if step > 0 else along
    whole = np.round(at).astype(int)
    even = step > 0 and np.abs(at - whole).max() < _LATTICE and len(set(whole)) == len(whole)
    if not even or whole[-1] + 1 == len(exact):
        return exact, list(range(len(exact)))
    ends = np.array((exact[0], exact[-1]))
    shares = np.arange(whole[-1] + 1)[:, None] / whole[-1]
    positions = [tuple(map(float, p)) for p in ends[0] * (1 - shares) + ends[1] * shares]
    for k, position in zip(whole, exact, strict=True):
        positions[k] = position
    return positions, whole.tolist()


def _facts(header: Dataset, measures: Dataset) -> SeriesFacts:
    def number(keyword: str) -> float | None:
        return None if measures.get(keyword) in (None, "") else float(measures.get(keyword))

    return SeriesFacts(
        uid=str(header.SeriesInstanceUID),
        sop_class=str(header.SOPClassUID),
        modality="SEG",
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
        thickness_mm=number("SliceThickness"),
        between_mm=number("SpacingBetweenSlices"),
    )
