"""Fields of a card as people write them, in YAML or JSON: for a model that is to become a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from seg_batch.config.card import CHANNELS_OF, SCHEMA, ModelCard
from seg_batch.config.validation import complaint
from seg_batch.config.yaml_source import read_tree
from seg_batch.core.errors import WorkflowError

_FOUND = ("schema_version", "folds_sha256", "format", "compute")
# What a card can't lack and a file may leave out.
_REST: Final[dict[str, Any]] = {
    "name": "model",
    "kind": "any",
    "classes": [{"id": 0, "name": "0"}, {"id": 1, "name": "1"}],
    "normalisation": {"kind": "identity"},
}


def read_card_fields(path: Path) -> dict[str, Any]:
    """The fields that the file gives, as JSON has them; WorkflowError, with line and column, where one is wrong.

    Classes may be a list of names: their ids count from 0.
    """
    tree = read_tree(path)
    if tree.plain in (None, {}):
        raise WorkflowError(f"{path}: empty: give fields of a card, like channels and classes")
    fields = _with_ids(tree.plain)
    try:
        ModelCard.model_validate(
            {**_rest(fields), **fields} if isinstance(fields, dict) else fields
        )
    except ValidationError as error:
        raise complaint(error, tree, ModelCard, "the card") from None
    except RecursionError:
        raise WorkflowError(f"{path}: nested too deeply: nothing here is so deep") from None
    return _as_now(_plain(fields))


def _as_now(fields: dict[str, Any]) -> dict[str, Any]:
    """Without facts about one file, which are found anew in each, and the number of an older schema, whose rule is said."""
    if fields.get("folds_sha256"):
        raise WorkflowError(
            "the card is that of several networks (folds_sha256), and one would be imported: name the bundle, or drop the key"
        )
    older = fields.get("schema_version", SCHEMA) < CHANNELS_OF
    kept = {key: value for key, value in fields.items() if key not in _FOUND}
    return {"missing": "all", **kept} if older else kept


def _with_ids(fields: Any) -> Any:
    """Names of classes as classes."""
    names = fields.get("classes") if isinstance(fields, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return fields
    return {**fields, "classes": [{"id": k, "name": str(name)} for k, name in enumerate(names)]}


def _rest(fields: dict[str, Any]) -> dict[str, Any]:
    """Values for what is not given, which fit what is."""
    numbers = fields.get("normalisation")
    mean = numbers.get("mean") if isinstance(numbers, dict) else None
    count = len(mean) if isinstance(mean, list) else 0
    return {**_REST, "channels": [f"channel {k}" for k in range(count)] or None}


def _plain(value: Any) -> Any:
    """The same with texts as plain ones."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
