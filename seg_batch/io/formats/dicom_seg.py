"""DICOM segmentations: label maps, or one bit for each voxel and segment; and RT structure sets, which hold contours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_batch.core.registry.formats import Format, ProductFormat
from seg_batch.io.sinks.spec import ProductSpec, Read

_CLASSES = (b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.66.7")
_PREAMBLE, _SOP_CLASS = 128, b"\x02\x00\x02\x00UI"
_ENDING, _STRUCTURES = ".seg.dcm", ".rtstruct.dcm"


def _matches(head: bytes) -> bool:
    """Whether the file meta information (PS3.10 7.1) names a segmentation."""
    if head[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        return False
    at = head.find(_SOP_CLASS, _PREAMBLE) + len(_SOP_CLASS)
    length = int.from_bytes(head[at : at + 2], "little")
    return head[at + 2 : at + 2 + length].rstrip(b"\0 ") in _CLASSES


def _open(path: Path, *, volume: int | None = None, staged: Path | None = None) -> Any:
    from seg_batch.io.sources.formats.dicom_seg import open_dicom_seg

    return open_dicom_seg(path, volume=volume, staged=staged)


def _write(part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str) -> None:
    from seg_batch.io.sinks.dicom_seg.write import write_seg

    write_seg(part, spec, read, again, _ENDING)


def _prove(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.dicom_seg.write import prove_seg

    return prove_seg(spec, _ENDING)


def _write_structures(
    part: Path, store: Any, spec: ProductSpec, read: Read, again: Read, labels: str
) -> None:
    from seg_batch.io.sinks.dicom_rt.write import write_structures

    write_structures(part, spec, read, again, _STRUCTURES)


def _prove_structures(spec: ProductSpec, name: str) -> list[str]:
    from seg_batch.io.sinks.dicom_rt.write import prove_structures

    return prove_structures(spec, _STRUCTURES)


DICOM_SEG = Format(
    name="dicom_seg",
    title="DICOM segmentation",
    kind="volume",
    endings=(_ENDING,),
    matches=_matches,
    open=_open,
)
PRODUCT = ProductFormat(
    name="dicom_seg",
    kinds=("volume",),
    endings=(_ENDING,),
    of_format="dicom",
    probabilities=".nii.gz",
    write=_write,
    prove=_prove,
)
STRUCTURES = ProductFormat(
    name="rtstruct",
    kinds=("volume",),
    endings=(_STRUCTURES,),
    of_format="dicom",
    holds_labels=False,
    write=_write_structures,
    prove=_prove_structures,
)
