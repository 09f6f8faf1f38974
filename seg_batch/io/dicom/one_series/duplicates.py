"""Files that came twice: a slice whose SOPInstanceUID another has is the same image, or the series is damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_batch.core.errors import InputError
from seg_batch.core.units import counted
from seg_batch.io.dicom.decode import stored_pixels
from seg_batch.io.dicom.one_series.checks import named
from seg_batch.io.dicom.series import Series, Slice
from seg_batch.io.dicom.tree import Tree


def without_duplicates(path: object, tree: Tree, series: Series) -> tuple[Series, tuple[str, ...]]:
    """The series with each instance once, and a warning where some came again. ``InputError`` where two of one UID differ."""
    first, kept = dict[tuple[str, int | None], Slice](), list[Slice]()
    for one in series.slices:
        key = one.sop_uid, one.frame
        if not one.sop_uid or key not in first:
            first[key] = one
            kept.append(one)
        elif not _is_same(tree, first[key], one):
            raise InputError(
                f"{path}: {named(first[key])} and {named(one)} have one SOPInstanceUID and differ: either may be the right one; "
                "copy the series again from its origin"
            )
    dropped = len(series.slices) - len(kept)
    if not dropped:
        return series, ()
    line = f"{counted(dropped, 'slice')} lie there twice, in files that are the same image: each is read once"
    return replace(series, slices=tuple(kept)), (
        line.replace(" lie ", " lies ") if dropped == 1 else line,
    )


def _is_same(tree: Tree, a: Slice, b: Slice) -> bool:
    """Whether two are one image, wherever their files lie and however they are packed."""
    alike = replace(b, file=a.file, bytes=a.bytes, stamp=a.stamp)
    if alike != a:
        return False
    try:
        return np.array_equal(stored_pixels(tree, a), stored_pixels(tree, b))
    except Exception:  # one of them is damaged
        return False
