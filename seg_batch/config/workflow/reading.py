"""Reads a workflow file into the checked value, or an error of one line with position and remedy."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from seg_batch.config.overrides import with_settings
from seg_batch.config.validation import complaint
from seg_batch.config.workflow.paths import ReadingContext
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.yaml_source import SourcePlace, read_tree
from seg_batch.core.errors import WorkflowError


def read(
    path: str | Path, sets: Iterable[str] = (), env: Mapping[str, str] | None = None
) -> Workflow:
    """The workflow in a file, with ``part.key=value`` settings put over it.

    Relative paths start at the folder of the file, those of settings at the current folder; ``env``
    replaces the environment. WorkflowError, ``night.yaml:12:5: ...``, for a file that is no workflow.
    """
    path = Path(path)
    tree = with_settings(read_tree(path), sets)
    if not isinstance(tree.plain, dict):
        place = tree.values.get((), SourcePlace(1, 1, str(path)))
        raise WorkflowError(
            f"{place}: no keys and values: give a workflow like those in workflows/"
        )
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-_")[:60] or "workflow"
    reading = ReadingContext(os.environ if env is None else env)
    try:
        return Workflow.model_validate({"name": name, **tree.plain}, context=reading)
    except ValidationError as error:
        raise complaint(error, tree, Workflow) from None
