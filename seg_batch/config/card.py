"""The card: the part of a bundle that is read without Keras.

Frozen pydantic values. Unknown keys are refused, and an older schema is migrated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from seg_batch.config.card_parts.blending import check_blending, labelled_of
from seg_batch.config.card_parts.channels import (
    Channels,
    ChannelStatistics,
    Shares,
    Sizes,
    Span,
    names_of,
)
from seg_batch.config.card_parts.codes import SegmentCode
from seg_batch.config.card_parts.measured import Border, Compute
from seg_batch.config.card_parts.network import AS_BEFORE, Network, Output, Tensors
from seg_batch.config.card_parts.normalisation import Normalisation
from seg_batch.config.card_parts.resampling import (
    Resampling,
    default_resampling,
    require_zeros_kept,
)
from seg_batch.config.colours import colour_of
from seg_batch.config.postprocess import Step, check_chain
from seg_batch.config.validation import CheckedValue, first_problem
from seg_batch.core.errors import BundleError, InputError
from seg_batch.core.geometry import Axis, Shape
from seg_batch.core.run_files import CARD
from seg_batch.core.text import NAME

SCHEMA = 8
WHOLE_PATCH: Final = "whole_patch_layers"  # in cards and reports: see nn.analysis.global_layers
CHANNELS_OF = 4  # the schema from which on a voxel lacks data where any channel does
TRAINED_FACTOR = 1.5  # a model takes grids that are finer or coarser than its training by this
STORED = "stored"
ORIENTATION = r"^([RLAPSI]{3}|stored(:(0,1,2|0,2,1|1,0,2|1,2,0|2,0,1|2,1,0))?)$"
RANKS = {"raster": (2,), "volume": (2, 3), "any": (2, 3)}


Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Missing = Literal["any", "all"]
Modality = Literal["optical", "sar", "elevation", "CT", "MR", "PET", "ultrasound", "microscopy"]


class ClassInfo(CheckedValue):
    """One class: its label value, its name and its colour (red, green, blue). ``share`` of an image
    and ``volume_ml``: the least and the greatest that one image of the training had. ``code``: what it is in the words
    of a terminology, for DICOM."""

    id: int = Field(ge=0, le=65533)
    name: str
    colour: tuple[int, int, int] = Field(
        default_factory=lambda others: colour_of(others.get("id", 0)),
    )
    share: Shares | None = None
    volume_ml: Span | None = None
    code: SegmentCode | None = None


class SkipRule(CheckedValue):
    """Voxels whose first channel is at most ``below`` (physical units) are empty. They get the class
    ``label``, and tiles of empty voxels alone are not predicted."""

    below: float
    label: int = 0


class ModelCard(CheckedValue):
    """Everything needed to use a model, except the model."""

    schema_version: int = Field(default=SCHEMA, ge=SCHEMA, le=SCHEMA, strict=True)
    name: str = Field(pattern=rf"^{NAME}$")
    description: str = ""
    kind: Literal["raster", "volume", "any"]
    rank: Literal[2, 3] | None = Field(default=None, description="spatial rank; none: any")
    modality: Modality | None = Field(default=None, description="what its images were taken with")
    channels: Channels | None = Field(default=None, description="none: any number")
    missing: Missing = Field(
        default="any",
        description="no label where any channel is missing, or where all are, as in older cards",
    )
    classes: tuple[ClassInfo, ...] = Field(min_length=2)
    background: int | None = Field(
        default=0,
        description="id of the class that mean scores leave out; none: every class counts",
    )
    patch: tuple[int, ...] | None = None
    multiple: tuple[PositiveInt, ...] | None = Field(
        default=None, description="what sides of other patches must be multiples of; none: no other"
    )
    patch_fixed: str | None = Field(
        default=None, description="why predictions take this patch alone; none: larger ones too"
    )
    overlap: tuple[int, ...] | None = None
    margin: tuple[int, ...] | None = None
    border: Border | None = Field(default=None, description="what --overlap auto goes by")
    normalisation: Normalisation
    spacing_mm: tuple[Size, ...] | None = None
    spacing_range_mm: tuple[Sizes, Sizes, Sizes] | None = None
    field_of_view_mm: tuple[Sizes, Sizes, Sizes] | None = None
    pixel_m: Size | None = None
    pixel_range_m: Sizes | None = None
    resampling: Resampling = Field(default_factory=default_resampling)
    images: int | None = Field(
        default=None, ge=1, description="how many images its statistics and ranges are of"
    )
    orientation: str = Field(default="RAS", pattern=ORIENTATION)
    skip: SkipRule | None = None
    compute: Compute = Compute()
    format: Literal["keras", "openvino", "onnx"] = Field(
        default="keras", description="model.keras, model.xml and model.bin, or model.onnx"
    )
    tensors: Tensors | None = Field(default=None, description="of a foreign file; none: ours")
    output: Output = AS_BEFORE
    padding: Literal["mirror", "zero"] = Field(
        default="mirror",
        description="what the model sees beyond the image: its mirror image, or zeros once normalised, "
        "with an image smaller than a patch in their middle",
    )
    crop: Literal["none", "nonzero"] = Field(
        default="none",
        description="nonzero: the box around what is not 0 is all that the model sees",
    )
    taper: str | None = Field(
        default=None,
        description="how tiles are blended where no option says; none: hann; gaussian: as in MONAI; nnunet: as in nnU-Net",
    )
    tiles: Literal["stride", "even"] = Field(
        default="stride",
        description="one stride, the last tile moved back; or all steps alike, as in nnU-Net",
    )
    lead: tuple[NonNegativeInt, ...] | None = Field(
        default=None,
        description="voxels per axis by which the first tile begins before the image and the last ends after it, for a network whose own tiles do",
    )
    tta: str = Field(
        default="none",
        description="the views that are averaged where no option says: none, flips (flips:y,x: along these), d4 or d4z",
    )
    finer: int = Field(default=1, ge=1, le=8, description="output voxels per input voxel and axis")
    post: tuple[Step, ...] = Field(default=(), description="steps that follow prediction, in order")
    architecture: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""
    training_data: str = ""
    split: dict[str, Any] = Field(default_factory=dict, description="what was held out, and how")
    scores: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str = ""
    folds_sha256: tuple[str, ...] = Field(
        default=(),
        description="of further networks in the bundle, model_1.onnx on, averaged with the first",
    )
    origin: dict[str, Any] = Field(
        default_factory=dict,
        description="what a bundle was made of, and what its card could not hold",
    )

    @model_validator(mode="before")
    @classmethod
    def _migrate(cls, data: Any) -> Any:
        """An older card in this schema, also one inside a dataset or a work store.

        Version 2 added ``border`` and ``split``; version 3 ``format``, ``finer``, ``multiple`` and
        ``post``; version 4 what the model was trained on; version 5 ``resampling`` and further kinds of
        normalisation; version 6 ``patch_fixed``; version 7 what foreign networks need; version 8 ``code`` of classes. All are optional, and a channel that is a text is one with this name, so only the
        number changes. Models of before version 4 were trained, and their maps made, with labels wherever
        any channel had data: they keep that rule. Models that were imported before version 6 keep their patch: no other was
        tried, and the multiples in their cards may be wrong.
        """
        version = data.get("schema_version") if isinstance(data, dict) else None
        if type(version) is not int or not 1 <= version < SCHEMA:
            return data
        rule = {"missing": "all"} if version < CHANNELS_OF else {}
        if data.get("multiple") and not data.get("scores"):
            rule["patch_fixed"] = "imported before other patches were tried: import the model again"
        return {**rule, **data, "schema_version": SCHEMA}

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        if len({c.id for c in self.classes}) != len(self.classes):
            raise ValueError("two classes share an id")
        if self.rank is not None and self.rank not in RANKS[self.kind]:
            raise ValueError(f"a {self.rank}-D model can't be of kind {self.kind}")
        for name in ("patch", "multiple", "overlap", "margin", "lead"):
            value = getattr(self, name)
            if value is not None and self.rank is not None and len(value) != self.rank:
                raise ValueError(f"{name} {value} does not have rank {self.rank}")
        if self.spacing_mm is not None and len(self.spacing_mm) not in {3, self.rank or 2}:
            raise ValueError(f"spacing_mm {self.spacing_mm} is no size of a voxel: give z, y, x")
        if self.patch is not None and self.overlap is not None:
            labelled = labelled_of(self.patch, self.output)
            _check_grid(labelled, self.overlap, self.margin or (0,) * len(labelled))
        if self.border is not None:
            if self.patch is None or len(self.border.reach) != len(self.patch):
                raise ValueError("border needs a patch of its rank: it was measured for one")
            _check_grid(
                labelled_of(self.patch, self.output), self.border.overlap, self.border.margin
            )
        lengths = {len(self.normalisation.mean), len(self.normalisation.std)}
        if self.normalisation.kind == "card" and lengths != {len(self.channels or ())}:
            raise ValueError("normalisation needs one mean and one std per channel")
        check_blending(
            self.output, self.patch, self.lead, self.background_index, self.taper, self.tta
        )
        check_chain(self.post, [c.name for c in self.classes], background=self.background_name)
        return self

    @model_validator(mode="after")
    def _one_view(self) -> ModelCard:
        rule = self.normalisation
        if rule.kinds and len(rule.kinds) != len(self.channels or ()):
            raise ValueError("mixed normalisation needs one of kinds per channel")
        require_zeros_kept({rule.kind, *rule.kinds}, self.resampling)
        if self.skip is not None and (self.crop != "none" or self.resampling.normalised):
            raise ValueError(
                "skip goes by values of the whole image as stored: drop it, or crop and normalised"
            )
        if self.crop != "none" and self.background_index is None:
            raise ValueError(
                "crop needs a background: it is the label of what the model does not see"
            )
        return self

    @property
    def why_fixed(self) -> str | None:
        """Why predictions take the card's patch alone; None where they may take another."""
        if self.patch_fixed is not None:
            return self.patch_fixed
        if any(self.output.shrink or ()):
            return "its output is smaller than its patch"
        if layers := self.architecture.get(WHOLE_PATCH):
            return f"a layer sees the whole patch: {layers[0]}"
        if self.patch is None or self.multiple is None:
            return "no other sides are known to fit"
        return None if self.compute.activation_bytes else "what a patch needs was not measured"

    @property
    def network(self) -> Network:
        """What an engine needs to know of the file of the network."""
        return Network(self.tensors, self.output, len(self.classes), self.background_index)

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        return None if self.channels is None else names_of(self.channels)

    @property
    def trained_on(self) -> tuple[ChannelStatistics | None, ...]:
        """The statistics of each channel; where a channel has none, the numbers it is normalised by."""
        numbers, known = self.normalisation, self.channels or ()
        by = [
            ChannelStatistics(mean=m, std=s) for m, s in zip(numbers.mean, numbers.std, strict=True)
        ]
        other = by if len(by) == len(known) else [None] * len(known)
        return tuple(c.statistics or alone for c, alone in zip(known, other, strict=True))

    @property
    def background_index(self) -> int | None:
        """Index of the background in ``classes``; None where every class counts."""
        return next((k for k, c in enumerate(self.classes) if c.id == self.background), None)

    @property
    def background_name(self) -> str | None:
        index = self.background_index
        return None if index is None else self.classes[index].name

    @property
    def label_dtype(self) -> str:
        """uint8 up to label 253; 254 and 255 stay free for nodata and unwritten."""
        return "uint8" if max(c.id for c in self.classes) <= 253 else "uint16"

    @property
    def nodata(self) -> int:
        """The label of voxels without data in rasters: 255, or 65535 in wide labels."""
        return 255 if self.label_dtype == "uint8" else 65535


def _check_grid(patch: Shape, overlap: Shape, margin: Shape) -> None:
    """ValueError with the reason where these make no grid."""
    for side in zip(patch, patch, overlap, margin, strict=True):
        Axis(*side)


def parse_card(text: str, where: str) -> ModelCard:
    """The card in ``text``; BundleError where it holds none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where} is not JSON ({error}): the bundle is damaged, fetch it again"
        ) from None
    if not isinstance(data, dict):
        raise BundleError(f"{where} is not a JSON object: the bundle is damaged, fetch it again")
    version = data.get("schema_version", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise BundleError(
            f"{where} has schema version {version}, this segbatch reads up to {SCHEMA}: "
            "upgrade segbatch to use this bundle"
        )
    try:
        return ModelCard.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"{where}: {first_problem(error, 'card')}; mend the card") from None


def make_card(**fields: Any) -> ModelCard:
    """The card with these fields; InputError where they make none."""
    try:
        return ModelCard(**fields)
    except ValidationError as error:
        problem = first_problem(error, "card")
        raise InputError(f"no card can be made of this ({problem})") from None


def read_card(folder: Path) -> ModelCard:
    path = folder / CARD
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} can't be read ({error}): name a bundle folder with {CARD} and model.keras"
        ) from None
    return parse_card(text, str(path))
