"""A closed segmentation, read back: every voxel, the place of every plane, and what each frame refers to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.core.errors import SegbatchError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import georef_differences
from seg_batch.core.spells import spell
from seg_batch.io.sinks.dicom_seg.origin import Origin
from seg_batch.io.sinks.spec import Read, damaged
from seg_batch.io.sources.formats.dicom_seg import SegSource, open_dicom_seg

_SAME = 1e-6
_SAME_MM = 1e-3


@spell("check")
def check_seg(part: Path, origin: Origin, read: Read, boxes: Sequence[Box]) -> None:
    """DamagedError unless the file has the labels of the store on the slices of the series."""
    try:
        with closing(open_dicom_seg(part)) as source:
            wrong = _place(source, origin) or _frames(source, origin)
            for box in () if wrong else boxes:
                if not np.array_equal(source.read(box).values[..., 0], read(box)):
                    wrong.append(f"voxels differ at {box}")
    except (SegbatchError, OSError, ValueError, AttributeError, KeyError) as error:
        raise damaged(part, [str(error)]) from error
    if wrong:
        raise damaged(part, wrong)


def _place(source: SegSource, origin: Origin) -> list[str]:
    if source.info.extent != origin.extent:
        return [f"extent: {origin.extent} became {source.info.extent}"]
    return georef_differences(origin.georef, source.info.georef, _SAME)


def _frames(source: SegSource, origin: Origin) -> list[str]:
    """Each frame lies where the slice lies that it refers to, which is that of its plane."""
    items, slices = source.frames.header.PerFrameFunctionalGroupsSequence, origin.series.slices
    for k, frames in enumerate(source.frames.of_plane):
        for index, _ in frames:
            refers: Any = items[index].DerivationImageSequence[0].SourceImageSequence[0]
            at = items[index].PlanePositionSequence[0].ImagePositionPatient
            frame = refers.get("ReferencedFrameNumber")
            here = slices[k].sop_uid, slices[k].frame
            if here != (str(refers.ReferencedSOPInstanceUID), frame and frame - 1):
                return [f"frame {index + 1} refers to another slice than that of plane {k}"]
            if np.abs(np.array(at, float) - slices[k].position).max() > _SAME_MM:
                return [f"frame {index + 1} lies beside slice {k}"]
    return []
