"""What is known of a series: its slices, and what its headers say of all of them. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How numbers are stored (PS3.3 C.7.6.3). ``floating``: as FloatPixelData or DoubleFloatPixelData. ``padding``:
    PixelPaddingValue, with ``padding_limit`` where a range of values is padding (C.7.5.1.1.2)."""

    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    signed: bool = False
    samples: int = 1
    photometric: str = "MONOCHROME2"
    floating: bool = False
    padding: int | None = None
    padding_limit: int | None = None
    table: bool = False  # a Modality LUT: physical values are looked up


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells apart the slices of one place in a series of several volumes; None or empty where nothing is said.

    ``echo``: its time in ms. ``diffusion``: b-value and direction. ``moment``: of the acquisition, in s;
    ``content``: of the image. ``indices``: of an enhanced file, but those of position (DimensionIndexValues).
    """

    temporal: int | None = None
    echo: float | None = None
    echo_number: int | None = None
    diffusion: Vector = ()
    trigger_ms: float | None = None
    acquisition: int | None = None
    moment: float | None = None
    content: float | None = None
    kind: tuple[str, ...] = ()
    stack: str = ""
    indices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """A plane of pixels: a file, or a ``frame`` of one, counted from 0.

    ``file``: its name below the root of its tree. ``position``: of the centre of its first pixel, in LPS, mm;
    ``orientation``: the direction cosines along its rows, then down its columns; ``pixel_mm``: between rows, between
    columns. ``physical = stored * slope + intercept``. ``bytes`` and ``stamp``: of the file, see ``tree.Member``.
    ``fault``: why it can't be used; it stays with its series, so that it is missed.
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
    format: PixelFormat = PixelFormat()
    marks: Marks = Marks()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Radiopharmacy:
    """What turns the activity of a PET image into SUV (PS3.3 C.8.9.1, C.8.9.2). Moments in s of one clock;
    ``dated``: the header says the day of the injection, too."""

    units: str = ""
    decay_correction: str = ""
    corrected: tuple[str, ...] = ()
    weight_kg: float | None = None
    dose_bq: float | None = None
    half_life_s: float | None = None
    injected: float | None = None
    dated: bool = False
    series_moment: float | None = None
    suv_type: str = ""


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
    radiopharmacy: Radiopharmacy | None = None
    patient: str = ""
    kernel: str = ""  # ConvolutionKernel: two of them make two reconstructions


@dataclass(frozen=True, slots=True)
class Series:
    """A volume that DICOM files make up. ``key``: its SeriesInstanceUID, with ``#1``, ``#2`` and so on where one holds
    several volumes; ``slices``: in the order of their files until ``geometry.placed`` has sorted them. ``aside``: why it is no
    image to be segmented, such as a localiser; ``fault``: what is wrong with it besides its slices."""

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
