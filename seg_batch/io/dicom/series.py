"""What is known of a series: its slices, and what its headers say of all of them. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """A plane of pixels: a file, or a ``frame`` of one, counted from 0.

    ``file``: its name below the root of its tree. ``position``: of the centre of its first pixel, in LPS, mm;
    ``orientation``: the direction cosines along its rows, then down its columns; ``pixel_mm``: between rows, between
    columns. ``physical = stored * slope + intercept``. ``bytes`` and ``stamp``: of the file, see ``tree.Member``.
    ``acquisition``: AcquisitionNumber.
    """

    file: str
    frame: int | None
    sop_uid: str
    number: int | None
    rows: int
    columns: int
    position: Vector | None
    orientation: Vector | None
    pixel_mm: Vector | None
    slope: float = 1.0
    intercept: float = 0.0
    bytes: int = 0
    stamp: int = 0
    acquisition: int | None = None


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the first header of a series says. ``uid``: SeriesInstanceUID; ``padding``: PixelPaddingValue, with
    ``padding_limit`` where a range of values is padding; ``between_mm``: SpacingBetweenSlices; ``patient``: a digest of
    PatientID, which tells two apart and nothing else."""

    uid: str
    sop_class: str = ""
    study_uid: str = ""
    frame_of_reference: str = ""
    modality: str = ""
    description: str = ""
    number: int | None = None
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    transfer_syntax: str = ""
    thickness_mm: float | None = None
    between_mm: float | None = None
    bits_allocated: int = 16
    bits_stored: int = 16
    signed: bool = False
    photometric: str = "MONOCHROME2"
    samples: int = 1
    padding: int | None = None
    padding_limit: int | None = None
    patient: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A volume that DICOM files make up. ``key``: its SeriesInstanceUID, with ``#1``, ``#2`` and so on where one holds
    several volumes; ``slices``: in the order of their files until ``geometry.placed`` has sorted them. ``aside``: why it is no image
    to be segmented, such as a localiser; ``fault``: what is wrong with it besides its geometry."""

    key: str
    facts: SeriesFacts
    slices: tuple[Slice, ...]
    aside: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """A file that is no slice of a volume, and why."""

    file: str
    why: str
