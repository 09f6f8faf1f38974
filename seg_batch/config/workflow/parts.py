"""The parts of a workflow: what comes in, how a model is applied, where products go, and limits."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe.card_draft import Frozen
from seg_batch.config.workflow.fields import (
    Count,
    Duration,
    Positive,
    RasterProduct,
    Size,
    TimeOfDay,
    VolumeProduct,
    next_time,
    product_names,
    several,
)
from seg_batch.config.workflow.option_keys import Keys, with_keys_of
from seg_batch.config.workflow.output_names import check_pattern
from seg_batch.config.workflow.paths import GlobText, NameText, PathText
from seg_batch.core.units import parse_bytes, parse_seconds


class InputSettings(Frozen):
    """What is to be segmented. ``paths``: files, folders (those files in them that are images) and
    patterns (``**``: any folders between). ``manifest``: a CSV with the columns input and, if
    wanted, output, volume, model. ``list``: a file with one path per line. ``exclude``: patterns of
    names, of the last parts of paths (``scouts/*.nii``), or of folders (``scouts/``). ``volume``: which one of 4-D files."""

    paths: Annotated[tuple[GlobText, ...], BeforeValidator(several)] = ()
    manifest: PathText | None = None
    list: PathText | None = None
    exclude: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(several)
    ] = ()
    volume: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"paths": value} if isinstance(value, str | list | tuple) else value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.paths or self.manifest or self.list):
            raise ValueError("there is nothing to segment: give paths, a manifest or a list")
        return self


@with_keys_of(PredictOptions)
class OptionKeys(Keys):
    """How a model is applied; the options of ``predict`` by the same names."""


class Formats(Frozen):
    """The format of products, for each kind of input."""

    raster: RasterProduct = Field(default_factory=lambda: product_names("raster")[0])
    volume: VolumeProduct = Field(default_factory=lambda: product_names("volume")[0])


class OutputSettings(Frozen):
    """Where products go. ``pattern``: their name in the folder, without an ending; it may hold
    ``{stem}``, ``{parent}``, ``{name}`` and ``{index}``."""

    folder: PathText
    pattern: Annotated[str, AfterValidator(check_pattern)] = "{stem}_labels"
    formats: Formats = Formats()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value


class LimitSettings(Frozen):
    """Where a run ends though there is more to do. ``memory``: of one worker process."""

    memory: Size | None = None
    wall_time: Duration | None = None
    stop_at: TimeOfDay | None = None

    @property
    def memory_bytes(self) -> int:
        """0: a share of the machine."""
        return parse_bytes(self.memory) if self.memory else 0

    def deadline(self, now: datetime) -> float | None:
        """When to stop, in unix seconds, for a run that begins ``now`` (local time); None: never."""
        ends = [now.timestamp() + parse_seconds(self.wall_time)] if self.wall_time else []
        ends += [next_time(self.stop_at, now).timestamp()] if self.stop_at else []
        return min(ends, default=None)


class OnFailure(Frozen):
    """``retries``: further tries of an input for what may pass (a lost worker, a failed read), after
    1, 4, 16 and then every 60 s; what is refused is not tried again. Of steps it is the inputs of a
    prediction that are tried again, no step as a whole. ``stop_after``: the run stops when so many
    inputs are set aside, that is refused, failed or partial; None: it always goes on."""

    retries: Annotated[int, Field(strict=True, ge=0, le=20)] = 3
    stop_after: Positive | None = None


Models = Annotated[tuple[NameText, ...], Field(min_length=1), BeforeValidator(several)]
