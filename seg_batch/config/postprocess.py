"""The post-processing chain: the steps applied to a label map after prediction, as values.

A step is written in a card as JSON (``{"step": "min_size", "size": "2mL"}``) and on the command line as text
(``--post min_size:2mL``); both become the same frozen value. This module holds names, parameters and
descriptions; ``inference/postprocess/`` holds what each step does.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_args

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from seg_batch.config.validation import CheckedValue, checked_by
from seg_batch.core.errors import PlanError
from seg_batch.core.text import nearest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(ha|mL)?")
NONE = "none"  # --post none switches the card's chain off


def parse_size(size: str) -> tuple[float, str]:
    """``"0.5ha" -> (0.5, "ha")``, ``"2mL" -> (2, "mL")``, ``"50" -> (50, "voxels")``; ValueError
    for anything else."""
    match = _SIZE.fullmatch(size)
    if match is None or float(match[1]) <= 0 or (match[2] is None and "." in match[1]):
        raise ValueError(f"{size!r} is no size: write voxels (50), hectares (0.5ha) or 2mL")
    return float(match[1]), match[2] or "voxels"


def _check_odd(side: int) -> None:
    if side % 2 == 0:
        raise ValueError(f"a side of {side} has no centre: use an odd one")


Size = Annotated[
    str, BeforeValidator(lambda v: str(v) if type(v) is int else v), checked_by(parse_size)
]
Share = Annotated[float, Field(gt=0, le=1)]


class _TextForm(NamedTuple):
    """The fields for the arguments of a step's text; empty: it takes no such argument.

    ``takes``: what it takes, in messages. ``first``: for one plain argument. ``plain``: for all of them.
    ``keyed``: for the mapping of the arguments ``key=value``; ``*``: each is a field of its own.
    """

    takes: str
    first: str = ""
    plain: str = ""
    keyed: str = ""


class _Step(CheckedValue, ABC):
    """``probabilities``: the step reads probabilities, not labels, and so comes first."""

    probabilities: ClassVar[bool] = False
    text_form: ClassVar[_TextForm]

    @classmethod
    def from_text(cls, arguments: str) -> Self:
        """The step with the arguments of its text form; ValueError for others."""
        plain, keyed = _split(arguments)
        form, fields, rest = cls.text_form, dict[str, Any](), plain
        if form.plain:
            fields[form.plain], rest = plain, []
        elif form.first and plain:
            fields[form.first], *rest = plain
        for argument in rest if form.keyed else [*rest, *keyed]:
            step = cls.model_fields["step"].default
            raise ValueError(f"{argument!r} has no meaning there: {step} takes {form.takes}")
        if form.keyed == "*":
            fields |= keyed
        elif form.keyed:
            fields[form.keyed] = keyed
        return cls.model_validate(fields)

    def class_names(self) -> tuple[str, ...]:
        """The names of its classes."""
        return tuple(getattr(self, "classes", ()))

    @abstractmethod
    def in_words(self) -> str:
        """What the step does, as a phrase for the plan and the report."""


class ThresholdStep(_Step):
    """With thresholds ``t_k`` for the classes in T and probabilities ``p_k``::

        P     = {k in T: p_k >= t_k}
        label = argmax over k in P of p_k / t_k          where P is not empty
                argmax over k not in T of p_k            else, where some class has no threshold
                background                               else, where the card has one
                the label that it had                    else

    The first of equals wins. So a class with a threshold is taken wherever it passes, whatever the
    probabilities of the others: with two classes that is the usual threshold.
    """

    step: Literal["threshold"] = "threshold"
    classes: dict[str, Share] = Field(min_length=1)
    probabilities: ClassVar[bool] = True
    text_form = _TextForm("class=probability", keyed="classes")

    def in_words(self) -> str:
        each = ", ".join(f"{name} from {least:g} on" for name, least in self.classes.items())
        return f"threshold: {each}"


class MinSizeStep(_Step):
    """Removes objects (voxels of one class joined by faces) smaller than ``size``, or than the size in
    ``classes`` for their class; see ``postprocess.object_rules`` for what replaces them."""

    step: Literal["min_size"] = "min_size"
    size: Size | None = None
    classes: dict[str, Size] = Field(default_factory=dict)
    text_form = _TextForm("one size for all classes", first="size", keyed="classes")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.size is None and not self.classes:
            raise ValueError("it needs a size, or one for each class, like min_size:50")
        return self

    def in_words(self) -> str:
        sizes = {"": self.size} if self.size else {}
        sizes |= {f" of {name}": size for name, size in self.classes.items()}
        words = (
            f"objects{owner} under {size if size[-1].isalpha() else size + ' voxels'}"
            for owner, size in sizes.items()
        )
        return f"minimum size: {', '.join(words)} are removed"


class FillHolesStep(_Step):
    """Fills holes of background that a single class encloses with that class; no ``classes``: any."""

    step: Literal["fill_holes"] = "fill_holes"
    classes: tuple[str, ...] = ()
    text_form = _TextForm("names of classes", plain="classes")

    def in_words(self) -> str:
        return f"holes in {', '.join(self.classes) or 'every class'} are filled"


class LargestStep(_Step):
    """Keeps only the largest object of each class; no ``classes``: all but the background."""

    step: Literal["largest"] = "largest"
    classes: tuple[str, ...] = ()
    text_form = _TextForm("names of classes", plain="classes")

    def in_words(self) -> str:
        return f"only the largest object of {', '.join(self.classes) or 'every class'} stays"


class MajorityStep(_Step):
    """Majority filter: each voxel takes the most frequent label of the ``side`` x ``side`` (x ``side``)
    voxels around it, and keeps its own where two are equally frequent."""

    step: Literal["majority"] = "majority"
    side: Annotated[int, Field(ge=3, le=31), checked_by(_check_odd)] = 3
    text_form = _TextForm("one odd side, like majority:3", first="side")

    def in_words(self) -> str:
        return f"majority of {self.side} voxels a side"


class CrfStep(_Step):
    """A conditional random field; see ``postprocess.crf`` for its energy and its parameters.

    The defaults scored best on the validation parts of the two starter bundles together."""

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
    text_form = _TextForm("key=value", keyed="*")

    def in_words(self) -> str:
        return (
            f"conditional random field: {self.iterations} iterations, smooth {self.smooth:g} over "
            f"{self.sigma:g} voxels, bilateral {self.bilateral:g} over {self.reach:g} voxels"
        )


AnyStep = ThresholdStep | MinSizeStep | FillHolesStep | LargestStep | MajorityStep | CrfStep
Step = Annotated[AnyStep, Field(discriminator="step")]
STEPS: dict[str, type[AnyStep]] = {
    kind.model_fields["step"].default: kind for kind in get_args(AnyStep)
}
_CHAIN: TypeAdapter[tuple[AnyStep, ...]] = TypeAdapter(
    tuple[Step, ...], config=ConfigDict(defer_build=True)
)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {what} {name[:40]!r}; {nearest(name, known)}"


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    """The plain arguments of a step's text, and those of the form ``key=value``."""
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
    """The first fault in words; an unknown parameter with the nearest name."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in STEPS]
    if first["type"] == "extra_forbidden":
        return _unknown("parameter", place[-1], [k for k in step.model_fields if k != "step"])
    return ": ".join([*place[-1:], first["msg"].removeprefix("Value error, ")])


def parse_step(text: str) -> AnyStep:
    """The step that ``name:argument,key=value`` stands for; PlanError in one line for other text."""
    name, _, rest = text.partition(":")
    if name not in STEPS:
        raise PlanError(f"--post {text[:60]!r}: {_unknown('step', name, [*STEPS, NONE])}")
    step = STEPS[name]
    try:
        return step.from_text(rest)
    except ValueError as error:  # pydantic's are ValueErrors
        reason = _reason(error, step) if isinstance(error, ValidationError) else error
        raise PlanError(f"--post {text[:60]!r}: {reason}") from None


def parse_chain(texts: Iterable[str]) -> tuple[AnyStep, ...]:
    """One step per text; ``none`` alone is the empty chain."""
    texts = tuple(texts)
    if NONE in texts:
        if len(texts) > 1:
            raise PlanError("--post none stands alone: drop it, or the other steps")
        return ()
    return tuple(map(parse_step, texts))


def chain_to_json(chain: Iterable[AnyStep]) -> tuple[dict[str, Any], ...]:
    return tuple(step.model_dump(mode="json") for step in chain)


def chain_from_json(data: Iterable[dict[str, Any]]) -> tuple[AnyStep, ...]:
    """The inverse of ``chain_to_json``; pydantic's ValidationError (a ValueError) for other data."""
    return _CHAIN.validate_python(tuple(data))


def describe(step: AnyStep | dict[str, Any]) -> str:
    """A step as a phrase for plans and reports."""
    return (chain_from_json([step])[0] if isinstance(step, dict) else step).in_words()


def check_chain(
    chain: Iterable[AnyStep], classes: Iterable[str], *, background: str | None
) -> None:
    """ValueError in one line unless the chain fits these class names and can run in its order."""
    classes = tuple(classes)
    for place, step in enumerate(chain):
        for name in step.class_names():
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
    of_objects = isinstance(step, MinSizeStep | FillHolesStep | LargestStep)
    if of_objects and background in step.class_names():
        raise ValueError(f"{step.step}: {background!r} is the background, it has no objects")


def needs_probabilities(chain: Iterable[AnyStep | dict[str, Any]]) -> bool:
    """Whether a step reads probabilities, so that the work store must keep them."""
    names = (s["step"] if isinstance(s, dict) else s.step for s in chain)
    return any(STEPS[name].probabilities for name in names)
