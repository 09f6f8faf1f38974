"""What is wrong with a workflow, as one line: where, which key, what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from seg_batch.config.yaml_source import SourcePlace, Where, YamlSource
from seg_batch.core.errors import WorkflowError
from seg_batch.core.text import nearest

type Model = type[BaseModel]


# What pydantic calls a kind of value -> what a person writes.
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text (in quotes)",
}
_OF_KIND = ("type", "parsing", "from_float", "parsing_size")


def complaint(error: ValidationError, tree: YamlSource, model: Model) -> WorkflowError:
    """The fault that stands first in the file; of the others, where they are."""
    found = error.errors(include_url=False)
    locs = {one["loc"][:length] for one in found for length in range(len(one["loc"]))}
    together: dict[tuple[Where, bool], list[Any]] = {}  # one value may be wrong for several reasons
    for one in found:
        if one["type"] != "too_short" or one["loc"] not in locs:
            known = one["type"] != "extra_forbidden"
            together.setdefault((tree.found(one["loc"]), known), []).append(one)
    faults = sorted(_fault(where, ones, tree, model) for (where, _), ones in together.items())
    place, said = faults[0]
    others = list(dict.fromkeys(str(other) for other, _ in faults[1:] if other != place))
    more = f" (further faults: {', '.join(others[:5])})" if others else ""
    return WorkflowError(f"{place}: {said}{more}")


def _fault(
    where: Where, ones: list[Any], tree: YamlSource, model: Model
) -> tuple[SourcePlace, str]:
    wanted = {one["type"]: _wanted(one, model) for one in ones}
    one = next((one for one in ones if not wanted[one["type"]]), ones[0])
    if one["type"] == "extra_forbidden":
        return tree.place(where, of_key=True), _unknown(where, one["loc"], model)
    place = tree.place(where)
    name = ".".join(map(str, where)) or "the workflow"
    if one["type"] == "missing":
        return place, f"{name} lacks the key {one['loc'][-1]!r}: add it"
    if all(wanted.values()):
        found = one["ctx"]["tag"] if "tag" in one.get("ctx", ()) else one["input"]
        takes = " or ".join(dict.fromkeys(wanted.values()))
        return place, f"{name}: found {_shown(found)}, it takes {takes}"
    return place, f"{name}: {_words(one)}"


def _wanted(one: Any, model: Model) -> str:
    """What the value should be; empty where it is of the right kind, or something else is wrong."""
    if one["type"] in ("model_type", "model_attributes_type", "dict_type"):
        inside = ", ".join(keys_in(models_at(model, one["loc"])))
        return f"keys and values ({inside})" if inside else "keys and values"
    if one["type"] in ("literal_error", "union_tag_invalid"):
        context = one["ctx"]
        return str(context.get("expected") or context["expected_tags"])
    if one["type"] == "tuple_type":
        return f"a list, written like {_as_list(one['input'])}"
    kind, _, why = one["type"].partition("_")
    return _KINDS.get(kind, "") if why in _OF_KIND else ""


def _as_list(value: Any) -> str:
    """What was meant by words, or by numbers between commas, as the list that it should have been."""
    text = str(value)[:60]
    return f"[{text}]" if "," in text else f"[{', '.join(text.split())}]"


def _unknown(where: Where, loc: Where, model: Model) -> str:
    known = list(keys_in(models_at(model, loc[:-1])))
    near = nearest(loc[-1], known)
    hint = f"{near} " if near.startswith("did") else ""
    return f"unknown key {str(loc[-1])[:60]!r}: {hint}allowed here: {', '.join(known)}"


def _words(one: Any) -> str:
    if one["type"] == "value_error":  # said by a validator of ours
        return str(one["ctx"]["error"])
    if one["type"] == "union_tag_not_found":
        return "it lacks the key 'do', the command that it runs: add it"
    if one["type"] == "string_pattern_mismatch":
        return f"found {_shown(one['input'])}, it takes letters, digits, - and _"
    said = one["msg"].partition(" after validation")[0].partition("should ")[2]
    return f"found {_shown(one['input'])}, it should {said}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys and values" if isinstance(value, dict) else "a list"
    text = repr(str(value)) if isinstance(value, str) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def models_at(model: Model, loc: Where) -> list[Model]:
    """The models that may stand at ``loc``: the steps of it that are no fields (numbers of items,
    names of commands) choose among several or say nothing."""
    models = [model]
    for step in loc:
        fields = [f for m in models for n, f in m.model_fields.items() if step in (n, f.alias)]
        if fields:
            models = [m for f in fields for m in _models_in(f.annotation)]
        elif chosen := [m for m in models if step in _tags(m)]:
            models = chosen
    return models


def keys_in(models: Iterable[Model]) -> dict[str, None]:
    """All keys that these models take, in order."""
    pairs = (pair for model in models for pair in model.model_fields.items())
    return dict.fromkeys(field.alias or name for name, field in pairs)


def _tags(model: Model) -> tuple[Any, ...]:
    do = model.model_fields.get("do")
    return get_args(do.annotation) if do else ()


def _models_in(annotation: Any) -> list[Model]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
