"""The options of a prediction, each declared once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from seg_batch.config.image_options.grid import GridOptions, OutputGrid, Resample, require_sizes
from seg_batch.config.image_options.scene import AreaOptions, FurtherOptions, SceneOptions
from seg_batch.config.options import option
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Shape
from seg_batch.core.registry.engines import engine_names
from seg_batch.core.text import either
from seg_batch.core.units import parse_bytes

PRECISIONS = ("auto", "float32", "mixed")
# Views of a patch: of ``flips`` also along some axes alone.
TTA = (
    *("none", "flips", "d4", "d4z"),
    *(f"flips:{axes}" for axes in ("z", "y", "x", "z,y", "z,x", "y,x", "z,y,x")),
)
SEG = ("labelmap", "binary")
ALPHA = ("auto", "data", "mask")
COMPRESS = ("auto", "deflate", "zstd", "lzw", "none")
ALPHA_HELP = "A band marked as alpha is data or a mask; auto: by its marks and the channels."
MOST = 1e30  # of a scale or an offset
STEM = "{stem}"  # in names of further products: the name of the input
CLUSTERS = "auto, inline, local, tcp://host:8786, tls://host:8786 or SPEC.yaml."


def _tapers() -> Iterable[str]:
    from seg_batch.core.taper import TAPERS

    return ("auto", *TAPERS)


def _voxels(where: str, text: str) -> int | str:
    if text in ("auto", "card"):
        return text
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise PlanError(
            f"{where} {text[:20]!r} is no number of voxels: use one from 0 on, auto or card"
        )
    return int(text)


def _patch(where: str, text: str) -> Shape | str:
    if text in ("auto", "card"):
        return text
    try:
        sides = _sides(where, text) or (0,)
    except PlanError:
        sides = (0,)
    _require_patch(f"{where} {text[:40]!r}", sides)
    return sides


def _require_patch(where: str, sides: Shape) -> None:
    if not 2 <= len(sides) <= 3 or min(sides) < 1:
        raise PlanError(f"{where} is no patch: use auto, card, or sides like 512,512 or 96,96,96")


def _size(where: str, text: str) -> int:
    try:
        return parse_bytes(text) if text else 0
    except (ValueError, OverflowError):
        raise PlanError(f"{where} {text[:40]!r} is no size: write it like 8GiB or 500MB") from None


def _sides(where: str, text: str) -> Shape | None:
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() and part.isascii() and len(part) < 10 for part in parts):
        raise PlanError(f"{where} {text[:40]!r} is no block shape: write it like 2048,2048")
    return tuple(map(int, parts)) or None


def band_names(where: str, text: str) -> tuple[str, ...]:
    """``B2,B3`` or, where names hold commas, ``B2|B3``."""
    names = tuple(part.strip() for part in text.split("|" if "|" in text else ","))
    if not all(names):
        raise PlanError(f"{where} {text[:40]!r} is no list of bands: write it like B2,B3 or 3,2,1")
    return names


def voxel_sizes(where: str, text: str) -> tuple[float, ...]:
    """``1`` or ``3,1,1``: finite, of a size that images have."""
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise PlanError(
            f"{where} {text[:40]!r} is no voxel size: write one number, or one per axis, like 1 or 3,1,1"
        ) from None
    require_sizes(where, sizes)
    return sizes


def _scale(where: str, text: str) -> tuple[float, ...] | Literal["none"]:
    return "none" if text == "none" else _numbers(where, text)


def _numbers(where: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
        if all(abs(number) < MOST for number in numbers):
            return numbers
        raise ValueError
    except ValueError:
        raise PlanError(
            f"{where} {text[:40]!r} is no number: write one, or one per band, like 0.5,2"
        ) from None


@dataclass(frozen=True)
class ModelOptions:
    """How a model is applied to patches, and the steps that follow.

    ``patch``: the sides of a patch; ``auto``: those that cost least, where the model may have others than it was trained
    on; ``card``: those. ``overlap``: voxels; None or ``auto``: as measured for the model, where it was measured, else as
    ``card``, the card's.
    ``tta``: test-time augmentation, the views of each patch that are predicted and averaged; ``taper``: how tiles are
    blended; ``auto``: as the card says. ``alpha``: how bands
    that a raster marks as alpha are read; ``auto``: as the file says, else by the model's channels. ``bands``: the
    channels to take, in the model's order, by name or by number from 1; None: by the names that an image and the card
    give, else all as they are. ``scale`` and
    ``offset``: physical = stored * scale + offset, one number or one per band; ``none``: the stored numbers whatever the
    file says. ``resample`` and ``spacing``: see ``GridOptions``. ``post``: steps that follow prediction, as on the command line; None: the card's."""

    engine: str = option("auto", f"{either(engine_names())}.", known=engine_names)
    precision: str = option("auto", "auto, float32 or mixed.", known=lambda: PRECISIONS)
    tta: str = option(
        "auto",
        "Average over views of each patch: none, flips (flips:y,x: along these), d4 or d4z; auto: as the card says.",
        known=lambda: ("auto", *TTA),
    )
    taper: str = option(
        "auto",
        "hann, gaussian, nnunet, linear, constant or crop; auto: as the card says, else hann.",
        known=_tapers,
    )
    patch: Shape | Literal["auto", "card"] = option(
        "auto",
        "auto: the sides that cost least; card: as the model was trained; or sides like 512,512.",
        read=_patch,
        check=_require_patch,
    )
    overlap: int | Literal["auto", "card"] | None = option(
        None,
        "Voxels that neighbouring tiles share; auto: as measured for the model; card: the card's.",
        read=_voxels,
        least=0,
    )
    alpha: Literal["auto", "data", "mask"] = option("auto", ALPHA_HELP, known=lambda: ALPHA)
    bands: tuple[str | int, ...] | None = option(
        None,
        "The bands to take, in the model's order: names, or numbers from 1, like B2,B3 or 3,2,1.",
        read=band_names,
    )
    scale: tuple[float, ...] | Literal["none"] | None = option(
        None,
        "Of files that carry none, one or one per band; none: stored numbers in any case.",
        read=_scale,
    )
    offset: tuple[float, ...] | None = option(
        None, "Added to stored x scale, one or one per band.", read=_numbers
    )
    resample: Resample = option(
        "auto",
        "auto: images come to the voxel size of the model where theirs is another; never: as they are.",
        known=lambda: get_args(Resample),
    )
    spacing: tuple[float, ...] | None = option(
        None,
        "Voxel sizes instead of the model's: mm along z,y,x, of rasters metres along y,x, or one for all.",
        read=voxel_sizes,
        check=require_sizes,
    )
    post: tuple[str, ...] | None = option(
        None,
        "A step that follows prediction, repeatable; none: not even those of the card.",
        metavar="STEP",
        key="post",
    )

    @property
    def grid(self) -> GridOptions:
        return GridOptions(self.resample, self.spacing)


@dataclass(frozen=True)
class PredictOptions(ModelOptions, SceneOptions, AreaOptions, FurtherOptions):
    """All options of a prediction. ``memory_bytes``: per worker process; 0: a share of the machine. ``output_grid``:
    see ``GridOptions``."""

    channels_last_axis: bool = option(False, "The last axis of a 4-D file is its channels.")
    output_grid: OutputGrid = option(
        "native",
        "The grid of the product: native, as the input's, or model.",
        known=lambda: get_args(OutputGrid),
    )
    probabilities: bool = option(False, "Keep them too, as uint8.")
    seg: Literal["labelmap", "binary"] = option(
        "labelmap",
        "How a DICOM segmentation stores its segments: labelmap, or binary for older viewers.",
        known=lambda: SEG,
    )
    compress: Literal["auto", "deflate", "zstd", "lzw", "none"] = option(
        "auto",
        "How a GeoTIFF is compressed: deflate, zstd, lzw or none; auto: small, and read by any program.",
        known=lambda: COMPRESS,
    )
    force: bool = option(False, "Go on where the input does not fit, or the disk is too small.")
    batch: int = option(0, "Patches per model call; 0: chosen from memory.", least=0)
    block: Shape | None = option(None, "Block shape, like 2048,2048.", read=_sides)
    workers: int = option(1, "Processes; 0: one per GPU, or one.", least=0, unsaid=0, key="workers")
    memory_bytes: int = option(
        0,
        "What one worker may use, like 8GiB.",
        flags=("--memory",),
        read=_size,
        key="limits.memory",
    )

    @property
    def grid(self) -> GridOptions:
        return GridOptions(self.resample, self.spacing, self.output_grid)

    @property
    def scene(self) -> SceneOptions:
        return SceneOptions.of(self)

    @property
    def area(self) -> AreaOptions:
        return AreaOptions.of(self)

    @property
    def further(self) -> FurtherOptions:
        return FurtherOptions.of(self)


def is_ending(name: str) -> bool:
    """Whether the name of a further product is an ending, like ``.csv``, for the name of the main product."""
    return name.startswith(".") and "/" not in name


@dataclass(frozen=True)
class RequestArguments:
    """The arguments of a request beside its input and its options."""

    output: str | None = option(
        None,
        "File, or folder for several inputs.",
        flags=("-o", "--output"),
        key="outputs.folder",
    )
    model: list[str] | None = option(
        None,
        "Bundle by name or path, or probe; repeatable: probabilities are averaged.",
        key="model",
    )
    deidentify: str | None = option(
        None,
        "Name products by codes and tell nothing of the inputs; TABLE leads from codes back.",
        metavar="TABLE",
        text="path",
        key="outputs.deidentify",
    )
    cluster: str = option("auto", CLUSTERS, key="cluster")
    volume: int | None = option(None, "Which of a 4-D file.", least=0, key="inputs.volume")
    series: str | None = option(
        None,
        "Which DICOM series of a folder: its number, its UID, or a part of that.",
        key="inputs.series",
    )
    tiles_out: str | None = option(
        None,
        "Also write one map for each file of a mosaic, cut from the whole, into this folder.",
        metavar="FOLDER",
        text="path",
        key="outputs.tiles",
    )
    also: tuple[str, ...] = option(
        (),
        "A further product, by its ending: a name, or an ending like .csv, repeatable.",
        metavar="FILE",
        key="outputs.also",
    )
