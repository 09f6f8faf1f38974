"""The parts of a workflow: its inputs, options of the model, outputs and limits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.validation import CheckedValue, Duration, checked_by
from seg_batch.config.workflow.fields import (
    Count,
    Positive,
    RasterProduct,
    Size,
    TimeOfDay,
    VolumeProduct,
    Words,
    as_list,
    next_time,
    product_names,
)
from seg_batch.config.workflow.option_keys import Keys, with_keys_of
from seg_batch.config.workflow.output_names import check_also, check_pattern
from seg_batch.config.workflow.paths import GlobText, ImageText, NameText, PathText
from seg_batch.config.workflow.stac import StacSettings
from seg_batch.core.files import why_not_local
from seg_batch.core.units import parse_bytes, parse_seconds

ID = "{id}"  # in patterns of a stack: the part of their paths that the files of one image share


class InputCase(CheckedValue):
    """One image of one or several files, as in the manifest of a training. ``id``: its name in outputs."""

    image: Annotated[tuple[ImageText, ...], Field(min_length=1), BeforeValidator(as_list)]
    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_training(cls, value: Any) -> Any:
        """Without what says nothing of an image to be segmented."""
        if not isinstance(value, dict):
            return value
        return {key: each for key, each in value.items() if key not in ("label", "split")}


def _stack_pattern(text: str) -> None:
    if why := why_not_local(text):
        raise ValueError(why)
    if ID not in text:
        raise ValueError(
            f"{text[:80]!r} has no {ID}, by which the files of one case are known: write it"
        )


class InputSettings(CheckedValue):
    """The inputs. ``paths``: files, folders (the images in them) and patterns (``**``: any folders
    between). ``dicom``: folders with all below them, zips and patterns of those: an input for each series.
    ``stack``: a pattern for each file of one image, whose ``{id}`` is the same. ``mosaic``: files and patterns of the pieces of one scene, which is one input. ``stac``: items of a STAC catalogue, an input each. ``cases``: images of several files. ``manifest``: a CSV with the column input and optionally output, volume, model, bands, or the
    manifest of a training. ``list``: a file with one path per line. ``exclude``: patterns of names, of the
    last parts of paths (``scouts/*.nii``), or of folders (``scouts/``). ``volume``: its index in 4-D files; ``series``: of
    a DICOM folder, by its number, its UID, or a part of that."""

    paths: Annotated[tuple[GlobText, ...], BeforeValidator(as_list)] = ()
    dicom: Annotated[tuple[GlobText, ...], BeforeValidator(as_list)] = ()
    stack: Annotated[
        tuple[Annotated[GlobText, checked_by(_stack_pattern)], ...], BeforeValidator(as_list)
    ] = ()
    cases: tuple[InputCase, ...] = ()
    mosaic: Annotated[tuple[GlobText, ...], BeforeValidator(as_list)] = ()
    stac: StacSettings | None = None
    manifest: PathText | None = None
    list: PathText | None = None
    exclude: Words = ()
    volume: Count | None = None
    series: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"paths": value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        given = (
            self.paths,
            self.dicom,
            self.stack,
            self.cases,
            self.mosaic,
            self.stac,
            self.manifest,
            self.list,
        )
        if not any(given):
            raise ValueError("there is nothing to segment: give paths, dicom, a manifest or a list")
        return self


@with_keys_of(PredictOptions)
class OptionKeys(Keys):
    """The options of ``predict``, by the same names."""


class Formats(CheckedValue):
    """The format of products, for each kind of input."""

    raster: RasterProduct = Field(default_factory=lambda: product_names("raster")[0])
    volume: VolumeProduct = Field(default_factory=lambda: product_names("volume")[0])


def _bucket(text: str) -> None:
    if not text.startswith(("s3://", "gs://", "az://")) or "?" in text or ".." in text:
        raise ValueError(f"{text[:80]!r} is no folder of a bucket: write it like s3://maps/2024")


class OutputSettings(CheckedValue):
    """The products. ``pattern``: their name in the folder, without an ending; it may hold
    ``{stem}``, ``{parent}``, ``{name}`` and ``{index}``. ``deidentify``: the file with the table of codes, by which
    products are then called, and nothing is told of inputs; ``pictures``: whether the report has some. ``also``: further
    products of each input, as endings or as names with ``{stem}``; what can't be made of an input is left out there. ``tiles``: the folder for a map of each file of a
    mosaic. ``bucket``: the folder of a bucket, like ``s3://maps/2024``, that products are written into as well, once they are whole."""

    folder: PathText
    bucket: Annotated[str, Field(min_length=1), checked_by(_bucket)] | None = None
    pattern: Annotated[str, AfterValidator(check_pattern)] = "{stem}_labels"
    formats: Formats = Formats()
    deidentify: PathText | None = None
    pictures: bool = True
    also: Annotated[Words, checked_by(check_also)] = ()
    tiles: PathText | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value


class LimitSettings(CheckedValue):
    """Limits of a run. ``memory``: of one worker process."""

    memory: Size | None = None
    wall_time: Duration | None = None
    stop_at: TimeOfDay | None = None

    @property
    def memory_bytes(self) -> int:
        """Memory of one worker process in bytes; 0: a share of the machine."""
        return parse_bytes(self.memory) if self.memory else 0

    def deadline(self, now: datetime) -> float | None:
        """The end, in unix seconds, of a run that begins ``now`` (local time); None: no limit."""
        ends = [now.timestamp() + parse_seconds(self.wall_time)] if self.wall_time else []
        ends += [next_time(self.stop_at, now).timestamp()] if self.stop_at else []
        return min(ends, default=None)


class OnFailure(CheckedValue):
    """``retries``: further tries of an input after a transient fault (a lost worker, a failed read), with
    backoff: after 1, 4, 16 and then every 60 s. A refused input is not tried again. In a workflow of steps
    the inputs of a prediction are tried again, never a whole step. ``stop_after``: the run stops at this
    number of inputs that were refused, failed or are partial; None: it goes on."""

    retries: Annotated[int, Field(strict=True, ge=0, le=20)] = 3
    stop_after: Positive | None = None


Models = Annotated[tuple[NameText, ...], Field(min_length=1), BeforeValidator(as_list)]


def require_pieces(inputs: InputSettings | None, outputs: OutputSettings) -> None:
    """ValueError for ``outputs.tiles`` without a mosaic: nothing would be written there."""
    if outputs.tiles is not None and not (inputs and inputs.mosaic):
        raise ValueError(
            "outputs.tiles is for a map of each piece of inputs.mosaic, and there is none: give inputs.mosaic, or leave "
            "tiles out"
        )
