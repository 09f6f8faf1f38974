"""The tables of ``seg_batch/docs`` that follow from the code: ``python -m tests.support.docs --write``.

A page has them between ``<!-- table: NAME -->`` and ``<!-- end -->``. All columns but the last are made here.
The last one is written by hand in the page, and kept for each key; where the code says it, that is taken.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as limits
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from seg_batch.config import postprocess
from seg_batch.config.card import ClassInfo, ModelCard
from seg_batch.config.cluster import CLASSES, ClusterSpec
from seg_batch.config.options import declared
from seg_batch.config.postprocess import STEPS
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.card_draft import CardTemplate
from seg_batch.config.recipe.hold_out import HeldPart
from seg_batch.config.recipe.manifest import Manifest
from seg_batch.config.recipe.training import Network
from seg_batch.config.validation import Duration
from seg_batch.config.workflow import Workflow, fields, paths
from seg_batch.config.workflow.cluster import Cluster
from seg_batch.config.workflow.parts import InputSettings, OptionKeys, OutputSettings
from seg_batch.config.workflow.schema import Command
from seg_batch.config.workflow.steps import (
    AnyStep,
    EvaluateStep,
    Name,
    PatchesStep,
    PredictStep,
    TrainStep,
)
from seg_batch.core import errors
from seg_batch.core.resources import DOCS

HOW = "python -m tests.support.docs --write"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)

type Rows = Iterator[
    tuple[str, ...]
]  # the key first; then other columns; last what the code says of it


def _words(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


_OPTIONS = get_type_hints(OptionKeys, include_extras=True)
# Values that are written as text, and what they take.
_SAID = [
    *((_OPTIONS[o.name], _words(o.known())) for o in declared(PredictOptions).values() if o.known),
    (fields.RasterProduct, _words(fields.product_names("raster"))),
    (fields.VolumeProduct, _words(fields.product_names("volume"))),
    (fields.Size, "a size, like `8GiB`"),
    (Duration, "a time, like `10h`"),
    (fields.TimeOfDay, "a time of day, like `06:30`"),
    (fields.PostStep, "a step, like `min_size:2mL`"),
    (postprocess.Size, "a size: voxels, or like `0.5ha`, `2mL`"),
    (paths.PathText, "a path"),
    (paths.ImageText, "a path or a URL"),
    (paths.GlobText, "a path or a pattern"),
    (paths.NameText, "a name or a path"),
    (paths.PairText, "a path, or `IMAGE=LABEL`"),
    (Name, "letters, digits, `-`, `_`"),
    (Cluster, "a word, an address, a file, or the keys of a cluster spec"),
    (Command, "a list of words"),
    (Any, "anything"),
]
_PLAIN = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "`true`, `false`",
    dict: "keys and values",
}
_PLURAL = re.compile(
    r"(?:\ba |(?=text))(whole number|number|path|URL|pattern|name|step|list|text)\b"
)
_ELSEWHERE = {
    OptionKeys: "options",
    InputSettings: "inputs",
    OutputSettings: "outputs",
}  # told once, in a workflow
# What a validator of the model checks, not a type.
_CHECKED = {
    (ClusterSpec, "cluster"): "a word, an address, or a class, below",
    (ClusterSpec, "security"): "a folder",
    (ClusterSpec, "lifetime"): "a time, like `3h45m`",
    (ClusterSpec, "wait"): "a time, like `10m`",
    (ModelCard, "post"): "a list of steps, in [predict](predict.md#steps-after-prediction)",
    (Workflow, "steps"): "a list of steps, below",
    (HeldPart, "boxes"): "a list of `[start, stop]`",
    (Network, "arch"): "a name of [networks](networks.md)",
    (TrainStep, "arch"): "a name of [networks](networks.md)",
}
# Defaults that the reader of the file fills in.
_FILLED = {
    (Workflow, "name"): "that of the file",
    (ClassInfo, "colour"): "by id",
    (ModelCard, "resampling"): "",
    (CardTemplate, "resampling"): "",
} | {(step, "name"): "that of the command" for step in get_args(AnyStep)}


def kind(hint: Any) -> str:
    """What a value of this type is, in words."""
    for known, said in _SAID:
        if hint == known:
            return said
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return kind(inside[0]) + _bounds(inside[1:])
    if origin is Literal:
        return _words(inside)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(one) for one in inside if one is not type(None))
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return f"a list of {_PLURAL.sub(lambda m: m[1] + 's', kind(inside[0]))}"
        return f"[{', '.join(kind(one) for one in inside)}]"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "keys, below"
    return _PLAIN[origin or hint]


def _bounds(metadata: Any) -> str:
    """``, from 0``; of lists and texts their least length is not said."""
    said = []
    for one in metadata:
        match one:
            case FieldInfo():
                said.append(_bounds(one.metadata))
            case limits.Ge(ge):
                said.append(f", from {ge:g}")
            case limits.Gt(gt):
                said.append(f", above {gt:g}")
            case limits.Le(le):
                said.append(f" to {le:g}")
            case limits.Lt(lt):
                said.append(f", below {lt:g}")
            case limits.Interval(gt=gt) if gt is not None:
                said.append(f", above {gt:g}")
    return "".join(said)


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if (model, name) in _FILLED:
        return _FILLED[model, name]
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**must be given**"
    if value is None or value in ("", (), {}):
        return "none"
    return "" if isinstance(value, BaseModel) else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    """As YAML has it, on one line."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return f"[{', '.join(map(_plain, value))}]"
        case dict():
            return f"{{{', '.join(f'{k}: {_plain(v)}' for k, v in value.items())}}}"
        case float():
            return f"{value:g}"
    return str(value)


def _models(hint: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Those within a type, each with what follows the key: ``[]`` within a list."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield "", hint
    for inside in get_args(hint) if get_origin(hint) is not Literal else ():
        for more, model in _models(inside):
            yield ("[]" if get_origin(hint) is tuple else "") + more, model


def keys(
    model: type[BaseModel], before: str = "", without: tuple[str, ...] = (), deep: bool = True
) -> Rows:
    """A row per key: what it takes, and its default; those of models within it after it."""
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        if name in without:
            continue
        key, hint = before + (field.alias or name), hints[name]
        apart = next((place for part, place in _ELSEWHERE.items() if hint == part), "")
        apart = "" if deep else apart
        takes = _CHECKED.get((model, name)) or kind(hint) + _own_bounds(hint, field)
        takes = f"as `{apart}` of a workflow" if apart else takes
        yield key, takes, _default(model, name), field.description or ""
        if not (apart or (model, name) in _CHECKED or hint == Cluster):
            for more, part in _models(hint):
                yield from keys(part, f"{key}{more}.", deep=deep)


def _own_bounds(hint: Any, field: FieldInfo) -> str:
    """Those that stand in the default, not in the type."""
    return "" if get_origin(hint) is Annotated else _bounds(field.metadata)


def _exits() -> Rows:
    for status in errors.Exit:
        yield str(int(status)), ""


def _errors() -> Rows:
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    ours = [one for one in kinds if issubclass(one, errors.SegbatchError)]
    for one in sorted(ours, key=lambda one: one.status):
        yield (
            f"`{one.__name__}`",
            str(int(one.status)),
            " ".join((one.__doc__ or "").replace("``", "`").split()),
        )


def _post() -> Rows:
    for step, model in STEPS.items():
        for key, *rest in keys(model, f"{step}.", without=("step",)):
            yield f"`{key}`", *rest


def _coded(rows: Rows) -> Rows:
    for key, *rest in rows:
        yield f"`{key}`", *rest


KEYS = ("key", "what it takes", "by default", "what it says")
TABLES: dict[str, tuple[tuple[str, ...], Callable[[], Rows]]] = {
    "workflow": (KEYS, lambda: _coded(keys(Workflow))),
    **{
        model.__name__.removesuffix("Step").lower(): (
            KEYS,
            partial(lambda m: _coded(keys(m, without=("do",), deep=False)), model),
        )
        for model in (PatchesStep, TrainStep, EvaluateStep, PredictStep)
    },
    "cluster": (KEYS, lambda: _coded(keys(ClusterSpec))),
    "classes": (
        ("class", "what pip installs for it", "what it is"),
        lambda: ((f"`{name}`", f"`{package}`", "") for name, package in CLASSES.items()),
    ),
    "recipe": (KEYS, lambda: _coded(keys(Recipe))),
    "manifest": (KEYS, lambda: _coded(keys(Manifest))),
    "card": (KEYS, lambda: _coded(keys(ModelCard))),
    "post": (KEYS, _post),
    "exits": (("exit status", "what it says"), _exits),
    "errors": (("error", "exit status", "what it says"), _errors),
}


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def table(name: str, now: str) -> str:
    """The table of this name, with the last column of the one that is there now."""
    kept = {}
    for line in now.splitlines():
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        kept[cells[0]] = cells[-1]
    head, rows = TABLES[name]
    lines = [_row(head), "|" + "---|" * len(head)]
    lines += [_row((*cells, said or kept.get(cells[0], ""))) for *cells, said in rows()]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """The page with its tables as they have to be."""
    return _TABLE.sub(lambda m: f"{m[1]}{table(m[2], m[0])}{m[3]}", text)


def tables_of(text: str) -> dict[str, str]:
    """The tables of a page by name, as they stand there."""
    return {match[2]: match[0] for match in _TABLE.finditer(text)}


def main() -> int:
    old = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            old.append(page)
            if "--write" in sys.argv:
                page.write_text(new, encoding="utf-8")
    for page in old:
        print(f"{page.name}: {'written' if '--write' in sys.argv else f'out of date: {HOW}'}")
    return 1 if old and "--write" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
