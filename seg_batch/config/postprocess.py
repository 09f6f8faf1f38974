"""The chain: what is done to a map after prediction, step by step, as values.

A step stands in a card as JSON (``{"step": "min_size", "size": "2mL"}``) or on the command line as text
(``--post min_size:2mL``); both become the same frozen value. What each step does is in
``postprocess/``, one file per step; this module knows names, parameters and words only.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from seg_batch.core.errors import PlanError
from seg_batch.core.text import nearest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(ha|mL)?")
NONE = "none"  # --post none: the card's chain is switched off


def measured(size: str) -> tuple[float, str]:
    """``"0.5ha" -> (0.5, "ha")``, ``"2mL" -> (2, "mL")``, ``"50" -> (50, "voxels")``; ValueError
    for anything else."""
    match = _SIZE.fullmatch(size)
    if match is None or float(match[1]) <= 0 or (match[2] is None and "." in match[1]):
        raise ValueError(f"{size!r} is no size: write voxels (50), hectares (0.5ha) or 2mL")
    return float(match[1]), match[2] or "voxels"


def _is_size(size: str) -> str:
    measured(size)
    return size


def _is_odd(side: int) -> int:
    if side % 2 == 0:
        raise ValueError(f"a side of {side} has no centre: use an odd one")
    return side


Size = Annotated[
    str, BeforeValidator(lambda v: str(v) if type(v) is int else v), AfterValidator(_is_size)
]
Share = Annotated[float, Field(gt=0, le=1)]
Arguments = tuple[list[str], dict[str, str]]  # of a step's text: plain ones, and key=value


class _Step(BaseModel, ABC):
    """``probabilities``: made of them, not of labels; such a step comes first or not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    probabilities: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        """The fields that the arguments of the text form mean."""

    def named(self) -> tuple[str, ...]:
        """Names of the classes it speaks of."""
        return tuple(getattr(self, "classes", ()))

    @abstractmethod
    def in_words(self) -> str:
        """What the step does, for the plan and the report."""


class ThresholdStep(_Step):
    """With thresholds ``t_k`` for the classes in T and probabilities ``p_k``::

        P     = {k in T: p_k >= t_k}
        label = argmax over k in P of p_k / t_k          where P is not empty
                argmax over k not in T of p_k            else, where some class has no threshold
                background                               else, where the card has one
                the label that it had                    else

    The first of equals wins. So a class with a threshold is taken wherever it passes, whatever
    the others say: with two classes that is the usual threshold.
    """

    step: Literal["threshold"] = "threshold"
    classes: dict[str, Share] = Field(min_length=1)
    probabilities: ClassVar[bool] = True

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("threshold", plain, "class=probability")
        return {"classes": keyed}

    def in_words(self) -> str:
        each = ", ".join(f"{name} from {least:g} on" for name, least in self.classes.items())
        return f"threshold: {each}"


class MinSizeStep(_Step):
    """Objects (voxels of one class joined by faces) smaller than ``size``, or than what ``classes``
    says for theirs, are removed; see ``postprocess.objects`` for what takes their place."""

    step: Literal["min_size"] = "min_size"
    size: Size | None = None
    classes: dict[str, Size] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.size is None and not self.classes:
            raise ValueError("it needs a size, or one for each class, like min_size:50")
        return self

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("min_size", plain[1:], "one size for all classes")
        return {"size": plain[0] if plain else None, "classes": keyed}

    def in_words(self) -> str:
        sizes = [*([self.size] if self.size else []), *self.classes.values()]
        places = [*([""] if self.size else []), *(f" of {name}" for name in self.classes)]
        words = (
            f"objects{place} under {size if size[-1].isalpha() else size + ' voxels'}"
            for place, size in zip(places, sizes, strict=True)
        )
        return f"minimum size: {', '.join(words)} are removed"


class FillHolesStep(_Step):
    """Holes of background that one class alone encloses become that class; no ``classes``: any."""

    step: Literal["fill_holes"] = "fill_holes"
    classes: tuple[str, ...] = ()

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("fill_holes", keyed, "names of classes")
        return {"classes": plain}

    def in_words(self) -> str:
        return f"holes in {', '.join(self.classes) or 'every class'} are filled"


class LargestStep(_Step):
    """Of each class only the largest object stays; no ``classes``: all but the background."""

    step: Literal["largest"] = "largest"
    classes: tuple[str, ...] = ()

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("largest", keyed, "names of classes")
        return {"classes": plain}

    def in_words(self) -> str:
        return f"only the largest object of {', '.join(self.classes) or 'every class'} stays"


class MajorityStep(_Step):
    """Each voxel takes the label that most voxels of the ``side`` x ``side`` (x ``side``) around
    it have; where two have as many, it keeps its own."""

    step: Literal["majority"] = "majority"
    side: Annotated[int, Field(ge=3, le=31), AfterValidator(_is_odd)] = 3

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("majority", [*plain[1:], *keyed], "one odd side, like majority:3")
        return {"side": plain[0]} if plain else {}

    def in_words(self) -> str:
        return f"majority of {self.side} voxels a side"


class CrfStep(_Step):
    """A conditional random field; see ``postprocess.crf`` for its energy and its parameters.

    The defaults did best on the validation parts of the two starter bundles, both taken together."""

    step: Literal["crf"] = "crf"
    iterations: Annotated[int, Field(ge=1, le=20)] = 5
    radius: Annotated[int, Field(ge=1, le=8, description="where kernels end, voxels")] = 3
    smooth: Annotated[float, Field(ge=0, le=20, description="weight of the Gaussian kernel")] = 0.5
    sigma: Annotated[float, Field(ge=0.1, le=100, description="its width, voxels")] = 0.7
    bilateral: Annotated[float, Field(ge=0, le=20, description="weight of the bilateral one")] = 2.0
    reach: Annotated[float, Field(ge=0.1, le=100, description="its width in space, voxels")] = 3.0
    contrast: Annotated[
        float, Field(ge=0.001, le=1000, description="its width in normalised values")
    ] = 0.2
    probabilities: ClassVar[bool] = True

    @classmethod
    def _read(cls, plain: list[str], keyed: dict[str, str]) -> dict[str, Any]:
        _no_more("crf", plain, "key=value")
        return dict(keyed)

    def in_words(self) -> str:
        return (
            f"conditional random field: {self.iterations} iterations, smooth {self.smooth:g} over "
            f"{self.sigma:g} voxels, bilateral {self.bilateral:g} over {self.reach:g} voxels"
        )


AnyStep = ThresholdStep | MinSizeStep | FillHolesStep | LargestStep | MajorityStep | CrfStep
Step = Annotated[AnyStep, Field(discriminator="step")]
STEPS: dict[str, type[AnyStep]] = {
    "threshold": ThresholdStep,
    "min_size": MinSizeStep,
    "fill_holes": FillHolesStep,
    "largest": LargestStep,
    "majority": MajorityStep,
    "crf": CrfStep,
}
_CHAIN: TypeAdapter[tuple[AnyStep, ...]] = TypeAdapter(tuple[Step, ...])


def _no_more(step: str, rest: Iterable[str], takes: str) -> None:
    for argument in rest:
        raise ValueError(f"{argument!r} has no meaning there: {step} takes {takes}")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {what} {name[:40]!r}; {nearest(name, known)}"


def _arguments(text: str) -> Arguments:
    plain: list[str] = []
    keyed: dict[str, str] = {}
    for argument in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = argument.partition("=")
        if not equals:
            plain.append(argument)
        elif key in keyed:
            raise ValueError(f"{key!r} is there twice")
        else:
            keyed[key] = value
    return plain, keyed


def _reason(error: ValidationError, step: type[AnyStep]) -> str:
    """The first thing wrong, in words; a parameter that there is not, with the nearest name."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in STEPS]
    if first["type"] == "extra_forbidden":
        return _unknown("parameter", place[-1], [k for k in step.model_fields if k != "step"])
    said = first["msg"].removeprefix("Value error, ")
    return ": ".join([*place[-1:], said])


def parse_step(text: str) -> AnyStep:
    """The step that ``name:argument,key=value`` means; PlanError in one line when it means none."""
    name, _, rest = text.partition(":")
    if name not in STEPS:
        raise PlanError(f"--post {text[:60]!r}: {_unknown('step', name, [*STEPS, NONE])}")
    step = STEPS[name]
    try:
        return step.model_validate(step._read(*_arguments(rest)))
    except ValidationError as error:
        raise PlanError(f"--post {text[:60]!r}: {_reason(error, step)}") from None
    except ValueError as error:
        raise PlanError(f"--post {text[:60]!r}: {error}") from None


def parse_chain(texts: Iterable[str]) -> tuple[AnyStep, ...]:
    """One step per text; ``none``, which stands alone, is a chain of nothing."""
    texts = tuple(texts)
    if NONE in texts:
        if len(texts) > 1:
            raise PlanError("--post none stands alone: drop it, or the other steps")
        return ()
    return tuple(map(parse_step, texts))


def chain_to_json(chain: Iterable[AnyStep]) -> tuple[dict[str, Any], ...]:
    return tuple(step.model_dump(mode="json") for step in chain)


def chain_from_json(data: Iterable[dict[str, Any]]) -> tuple[AnyStep, ...]:
    """The inverse of ``chain_to_json``; pydantic's ValidationError (a ValueError) when it is none."""
    return _CHAIN.validate_python(tuple(data))


def describe(step: AnyStep | dict[str, Any]) -> str:
    """A step in words, for plans and reports."""
    return (chain_from_json([step])[0] if isinstance(step, dict) else step).in_words()


def check_chain(
    chain: Iterable[AnyStep], classes: Iterable[str], *, background: str | None
) -> None:
    """ValueError in one line unless the chain fits these class names and makes sense in its order."""
    classes = tuple(classes)
    for place, step in enumerate(chain):
        for name in step.named():
            if name not in classes:
                raise ValueError(f"{step.step}: {_unknown('class', name, classes)}")
        if place and step.probabilities:
            raise ValueError(
                f"{step.step} makes its labels of probabilities, so what comes before it would be "
                "lost: put it first, and only one such step"
            )
        _check_background(step, background)


def _check_background(step: AnyStep, background: str | None) -> None:
    if isinstance(step, FillHolesStep) and background is None:
        raise ValueError(
            "fill_holes fills holes of background, and this model has none: use min_size or majority"
        )
    if isinstance(step, MinSizeStep | FillHolesStep | LargestStep) and background in step.named():
        raise ValueError(f"{step.step}: {background!r} is the background, it has no objects")


def needs_probabilities(chain: Iterable[AnyStep | dict[str, Any]]) -> bool:
    """Whether a step is made of probabilities, so that the work store must keep them."""
    names = (s["step"] if isinstance(s, dict) else s.step for s in chain)
    return any(STEPS[name].probabilities for name in names)
