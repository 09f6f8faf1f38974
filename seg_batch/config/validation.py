"""The base of checked values, and the faults found in them as one line: where, which key, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from seg_batch.core.errors import WorkflowError
from seg_batch.core.text import nearest
from seg_batch.core.units import parse_seconds

if TYPE_CHECKING:
    from seg_batch.config.yaml_source import SourcePlace, Where, YamlSource

type Model = type[BaseModel]


def checked_by(check: Callable[[Any], object]) -> AfterValidator:
    """The validator that keeps a value for which ``check`` raises no ValueError."""

    def same(value: Any) -> Any:
        check(value)
        return value

    return AfterValidator(same)


Duration = Annotated[str, checked_by(parse_seconds)]


class CheckedValue(BaseModel):
    """Base of the values that people write: frozen, unknown keys refused, no NaN (JSON has none).

    A kind of value is built when a first one is checked: a command meets few of all kinds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


# What pydantic calls a type -> what a person writes.
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text (in quotes)",
}
_OF_TYPE = ("type", "parsing", "from_float", "parsing_size")


def first_problem(error: ValidationError, whole: str, model: Model | None = None) -> str:
    """The first fault as ``key: reason``; ``whole`` names a fault of no key.

    An unknown key of ``model`` comes with the nearest one that exists.
    """
    first = _own(error.errors())[0]
    where, hint = first["loc"], ""
    if model is not None and first["type"] == "extra_forbidden":
        hint = f"; {nearest(where[-1], keys_in(models_at(model, where[:-1])))}"
    return f"{'.'.join(map(str, where)) or whole}: {first['msg']}{hint}"


def complaint(
    error: ValidationError, tree: YamlSource, model: Model, whole: str = "the workflow"
) -> WorkflowError:
    """The fault that comes first in the file, which is ``whole``, and the positions of up to five others."""
    errors = _own(error.errors(include_url=False))
    prefixes = {e["loc"][:length] for e in errors for length in range(len(e["loc"]))}
    by_value: dict[tuple[Where, bool], list[Any]] = {}  # a value may be wrong in several ways
    for e in errors:
        if e["type"] != "too_short" or e["loc"] not in prefixes:
            known = e["type"] != "extra_forbidden"
            by_value.setdefault((tree.existing(e["loc"]), known), []).append(e)
    faults = sorted(
        _fault(where, group, tree, model, whole) for (where, _), group in by_value.items()
    )
    place, text = faults[0]
    others = list(dict.fromkeys(str(other) for other, _ in faults[1:] if other != place))
    further = f" (further faults: {', '.join(others[:5])})" if others else ""
    return WorkflowError(f"{place}: {text}{further}")


def _own(errors: list[Any]) -> list[Any]:
    """Without defaults that were not made because other keys are wrong."""
    return [e for e in errors if e["type"] != "default_factory_not_called"] or errors


def _fault(
    where: Where, errors: list[Any], tree: YamlSource, model: Model, whole: str
) -> tuple[SourcePlace, str]:
    """The position and the text of what is wrong with one value."""
    wanted = {e["type"]: _wanted(e, model) for e in errors}
    error = next((e for e in errors if not wanted[e["type"]]), errors[0])
    if error["type"] == "extra_forbidden":
        return tree.place(where, of_key=True), _unknown(error["loc"], model)
    place = tree.place(where)
    name = ".".join(map(str, where)) or whole
    if error["type"] == "missing":
        return place, f"{name} lacks the key {error['loc'][-1]!r}: add it"
    if all(wanted.values()):
        value = error["ctx"]["tag"] if "tag" in error.get("ctx", ()) else error["input"]
        takes = " or ".join(dict.fromkeys(wanted.values()))
        return place, f"{name}: found {_shown(value)}, it takes {takes}"
    return place, f"{name}: {_words(error)}"


def _wanted(error: Any, model: Model) -> str:
    """The type that the value should have; empty where the type is right."""
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        inside = ", ".join(keys_in(models_at(model, error["loc"])))
        return f"keys and values ({inside})" if inside else "keys and values"
    if error["type"] in ("literal_error", "union_tag_invalid"):
        context = error["ctx"]
        return str(context.get("expected") or context["expected_tags"])
    if error["type"] == "tuple_type":
        return f"a list, written like {_as_list(error['input'])}"
    kind, _, reason = error["type"].partition("_")
    return _TYPES.get(kind, "") if reason in _OF_TYPE else ""


def _as_list(value: Any) -> str:
    """Words, or numbers between commas, as the list that was meant."""
    text = str(value)[:60]
    return f"[{text}]" if "," in text else f"[{', '.join(text.split())}]"


def _unknown(where: Where, model: Model) -> str:
    known = list(keys_in(models_at(model, where[:-1])))
    near = nearest(where[-1], known)
    hint = f"{near} " if near.startswith("did") else ""
    return f"unknown key {str(where[-1])[:60]!r}: {hint}allowed here: {', '.join(known)}"


def _words(error: Any) -> str:
    if error["type"] == "value_error":  # raised by a validator of ours
        return str(error["ctx"]["error"])
    if error["type"] == "union_tag_not_found":
        return "it lacks the key 'do', the command that it runs: add it"
    if error["type"] == "string_pattern_mismatch":
        return f"found {_shown(error['input'])}, it takes letters, digits, - and _"
    rule = error["msg"].partition(" after validation")[0].partition("should ")[2]
    return f"found {_shown(error['input'])}, it should {rule}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys and values" if isinstance(value, dict) else "a list"
    text = repr(str(value)) if isinstance(value, str) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def models_at(model: Model, where: Where) -> list[Model]:
    """The models that a value at ``where`` may have. Steps that are no fields are numbers of items,
    or names of commands, which choose among several models."""
    models = [model]
    for step in where:
        fields = [f for m in models for n, f in m.model_fields.items() if step in (n, f.alias)]
        if fields:
            models = [m for f in fields for m in _models_in(f.annotation)]
        elif chosen := [m for m in models if step in _commands(m)]:
            models = chosen
    return models


def keys_in(models: Iterable[Model]) -> dict[str, None]:
    """All keys of these models, in order."""
    pairs = (pair for model in models for pair in model.model_fields.items())
    return dict.fromkeys(field.alias or name for name, field in pairs)


def _commands(model: Model) -> tuple[Any, ...]:
    do = model.model_fields.get("do")
    return get_args(do.annotation) if do else ()


def _models_in(annotation: Any) -> list[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
