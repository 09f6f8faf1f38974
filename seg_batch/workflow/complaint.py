"""What is wrong with a workflow, as one line: where, which key, what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from seg_batch.errors import WorkflowError
from seg_batch.named import nearest
from seg_batch.yaml_tree import Place, Tree, Where

type Model = type[BaseModel]


def complaint(error: ValidationError, tree: Tree, model: Model) -> WorkflowError:
    """The fault that stands first in the file; of the others, where they are."""
    found = error.errors(include_url=False)
    locs = {one["loc"][:length] for one in found for length in range(len(one["loc"]))}
    told = [one for one in found if one["type"] != "too_short" or one["loc"] not in locs]
    faults = sorted({_fault(one, tree, model) for one in told})
    place, said = faults[0]
    others = list(dict.fromkeys(str(other) for other, _ in faults[1:] if other != place))
    more = f" (further faults: {', '.join(others[:5])})" if others else ""
    return WorkflowError(f"{place}: {said}{more}")


def _fault(one: Any, tree: Tree, model: Model) -> tuple[Place, str]:
    where = tree.found(one["loc"])
    if one["type"] == "extra_forbidden":
        return tree.place(where, of_key=True), _unknown(where, one["loc"], model)
    place = tree.place(where)
    name = ".".join(map(str, where)) or "the workflow"
    if one["type"] == "missing":
        return place, f"{name} lacks the key {one['loc'][-1]!r}: add it"
    if one["type"] in ("model_type", "model_attributes_type", "dict_type"):
        inside = ", ".join(keys_in(models_at(model, one["loc"])))
        return place, f"{name} takes keys and values ({inside}), found {_shown(one['input'])}"
    return place, f"{name}: {_words(one)}"


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
    if one["type"] in ("literal_error", "union_tag_invalid"):
        context = one["ctx"]
        expected = context.get("expected") or context["expected_tags"]
        found = context["tag"] if "tag" in context else one["input"]
        return f"found {_shown(found)}, allowed: {expected.replace(' or ', ', ')}"
    said = one["msg"].removeprefix("Input ").replace("Tuple should", "it should")
    return f"found {_shown(one['input'])}, {said.replace('should', 'it should', 'it' not in said)}"


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
