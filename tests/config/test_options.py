"""Each option is declared once, and occurs on the command line, in workflows and in Python."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel, ValidationError

import seg_batch
from seg_batch.cli.main import app
from seg_batch.cli.options import spread
from seg_batch.config.command_options import (
    CutOptions,
    EvaluateOptions,
    ImportOptions,
    ProfileOptions,
    StartOptions,
    TrainOverrides,
)
from seg_batch.config.options import Option, declared, option
from seg_batch.config.predict_options import ModelOptions, PredictOptions, RequestArguments
from seg_batch.config.workflow.option_keys import Keys, with_keys_of
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import EvaluateStep, PatchesStep, TrainStep
from seg_batch.core.errors import PlanError
from seg_batch.datasets.build import make_patches
from seg_batch.evaluation.evaluate import evaluate_bundle, evaluate_files
from seg_batch.training.train import train

PACKAGE = Path(seg_batch.__file__).parent
# Options -> commands that have them; the model with their keys; the functions in Python.
PLACES: dict[type, tuple[tuple[str, ...], type[BaseModel] | None, tuple[Callable[..., Any], ...]]]
PLACES = {
    PredictOptions: (("predict", "plan", "watch"), Workflow, ()),
    RequestArguments: (("predict", "plan", "watch"), Workflow, (seg_batch.predict,)),
    ModelOptions: (("evaluate",), Workflow, ()),
    CutOptions: (("patches",), PatchesStep, (make_patches,)),
    TrainOverrides: (("train",), TrainStep, ()),
    StartOptions: (("train",), TrainStep, (train,)),
    EvaluateOptions: (("evaluate",), EvaluateStep, (evaluate_bundle, evaluate_files)),
    ImportOptions: (("models import",), None, ()),
    ProfileOptions: (("predict", "run"), None, (seg_batch.predict,)),
}
NO_KEY = {
    (CutOptions, "cluster"): "the workflow's own, for all of its steps",
    (CutOptions, "workers"): "the workflow's own, for all of its steps",
    (TrainOverrides, "cluster"): "the workflow's own, for all of its steps",
    (TrainOverrides, "workers"): "the workflow's own, for all of its steps",
    (StartOptions, "tensorboard"): "for somebody who looks on; a workflow has its journal",
}
NO_KEYWORD = {
    (evaluate_bundle, "images"): "the data have images",
    (evaluate_bundle, "classes"): "the card has classes",
    (evaluate_files, "split"): "label files are scored whole",
}
OTHER_DEFAULT = {
    (seg_batch.predict, "cluster"): "Python starts no processes unless asked to",
}
# Names in commands and workflows that are no second declaration.
HOMONYMS = {
    ("cli/cluster.py", "workers"): "how many are looked at",
    ("cli/cluster.py", "output"): "a folder that workers must write to",
    ("cli/evaluate.py", "model"): "what is evaluated; it has no default that fits",
    ("cli/evaluate.py", "output"): "the folder of the page",
    ("cli/export.py", "output"): "the folder of the export",
    ("cli/main.py", "volume"): "of ``inspect``, which has no other of these",
    ("cli/main.py", "series"): "of ``inspect``, as volume is",
    ("cli/main.py", "allow"): "the same",
    ("cli/main.py", "allow_vrt"): "the same",
    ("cli/models.py", "output"): "the bundle folder",
    ("cli/models.py", "name"): "the bundle that is shown",
    ("cli/run.py", "settings"): "over the workflow, not over the recipe",
    ("cli/train.py", "output"): "the dataset, the bundle",
    ("cli/train.py", "recipe"): "without a default: pairs can't be cut without",
    ("cli/main.py", "deidentify"): "of ``verify``, which only reads the table",
    ("cli/run.py", "pictures"): "whether the report of a run has some",
    ("cli/watch.py", "pictures"): "the same",
    ("config/workflow/parts.py", "pictures"): "the same",
    ("config/workflow/parts.py", "deidentify"): "a part of outputs",
    ("config/workflow/parts.py", "memory"): "beside the options: a limit of the run",
    ("config/workflow/parts.py", "volume"): "of inputs, and a format",
    ("config/workflow/pacs.py", "allow"): "who may send",
    ("config/workflow/pacs.py", "series"): "a limit of what is received",
    ("config/workflow/parts.py", "series"): "of inputs, as volume is",
    ("config/workflow/parts.py", "also"): "of outputs, as series is of inputs",
    ("config/workflow/stac.py", "bbox"): "of a search, not of a prediction",
    ("config/workflow/schema.py", "model"): "beside the options: ``inputs`` may name others",
    ("config/workflow/schema.py", "post"): "beside the options: it is no part of a prediction",
    ("config/workflow/schema.py", "cluster"): "of the run, not of an input",
    ("config/workflow/schema.py", "workers"): "of the run, not of an input",
    ("config/workflow/schema.py", "name"): "of the run",
    ("config/workflow/schema.py", "steps"): "those of a workflow",
    ("config/workflow/steps.py", "model"): "as in the schema",
    ("config/workflow/steps.py", "post"): "as in the schema",
    ("config/workflow/steps.py", "name"): "of the step",
    ("config/workflow/steps.py", "output"): "what a step makes",
    ("config/workflow/steps.py", "recipe"): "without a default: pairs can't be cut without",
}


def every_option() -> Iterator[tuple[type, Option]]:
    for kind in PLACES:
        for one in declared(kind).values():
            yield kind, one


def parameters_of(words: str) -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    return {flag: p for p in command.params for flag in p.opts}


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Option) else value.__name__


@pytest.mark.parametrize(("kind", "one"), list(every_option()), ids=name_of)
def test_it_is_an_option_of_its_commands_with_the_words_of_its_declaration(
    kind: type, one: Option
) -> None:
    for words in PLACES[kind][0]:
        found = parameters_of(words)[one.flag]
        assert isinstance(found, typer.core.TyperOption)
        assert found.help == one.help
        assert found.required == (one.unsaid is MISSING)
        if not found.required and found.default is not None:
            assert found.default == one.unsaid


@pytest.mark.parametrize(("kind", "one"), list(every_option()), ids=name_of)
def test_it_is_a_key_of_workflows(kind: type, one: Option) -> None:
    model: Any = PLACES[kind][1]
    if model is None:
        return
    assert (one.key == "") == ((kind, one.name) in NO_KEY)
    if one.key == "":
        return
    own = "options." if model is Workflow else ""
    path = (one.key or f"{own}{one.alias or one.name}").split(".")
    for name in path[:-1]:
        (model,) = (
            part
            for part in _parts(model.model_fields[name].annotation)
            if issubclass(part, BaseModel)
        )
    keys = {field.alias or name: field for name, field in model.model_fields.items()}
    default = keys[path[-1]].default
    assert one.key is not None or default == one.unsaid


def _parts(annotation: Any) -> tuple[type, ...]:
    if isinstance(annotation, type):
        return (annotation,)
    return tuple(part for part in annotation.__args__ if isinstance(part, type))


@pytest.mark.parametrize(("kind", "one"), list(every_option()), ids=name_of)
def test_it_is_a_keyword_in_python(kind: type, one: Option) -> None:
    for function in PLACES[kind][2]:
        taken = inspect.signature(function).parameters
        assert (one.name in taken) != ((function, one.name) in NO_KEYWORD)
        if one.name in taken and (function, one.name) not in OTHER_DEFAULT:
            assert taken[one.name].default == inspect.signature(kind).parameters[one.name].default


def test_predict_takes_all_options_as_keywords() -> None:
    taken = inspect.signature(seg_batch.predict).parameters
    assert taken["options"].kind is inspect.Parameter.VAR_KEYWORD
    with pytest.raises(TypeError, match=r"predict\(\) has no option 'tile'"):
        seg_batch.predict("scene.tif", tile=3)


def names_declared(path: Path) -> Iterator[str]:
    """Fields of classes, and parameters of commands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            fields = (line for line in node.body if isinstance(line, ast.AnnAssign))
            yield from (ast.unparse(field.target) for field in fields)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            typed = ast.unparse(node.args)
            if "typer." in typed or path.parent.name == "cli":
                yield from (a.arg for a in (*node.args.args, *node.args.kwonlyargs))


def test_nothing_else_declares_it() -> None:
    names = {one.name for _, one in every_option()} | {
        one.alias for _, one in every_option() if one.alias
    }
    again = {
        (str(path.relative_to(PACKAGE)), name)
        for folder in ("cli", "config/workflow")
        for path in (PACKAGE / folder).glob("*.py")
        for name in set(names_declared(path)) & names
    }
    assert again == set(HOMONYMS)


def test_its_words_are_written_once() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (PACKAGE / "cli").glob("*.py")]
    spelled = {one.help for _, one in every_option() if any(one.help in text for text in texts)}
    assert spelled == {"Which of a 4-D file."}  # of ``inspect``, too


@dataclass(frozen=True)
class WithColour(PredictOptions):
    colour: str = option("red", "red or blue.", known=lambda: ("red", "blue"))
    turns: int | None = option(None, "How often.", least=1)


def test_a_new_option_needs_its_declaration_only() -> None:
    said: list[WithColour] = []

    def command(options: WithColour) -> None:
        said.append(options)

    own = typer.Typer()
    own.command()(spread(command))
    run = typer.main.get_command(own)
    run.main(["--colour", "blue", "--turns", "3"], standalone_mode=False)
    run.main([], standalone_mode=False)
    assert [(one.colour, one.turns) for one in said] == [("blue", 3), ("red", None)]
    with pytest.raises(PlanError, match="there is no --colour 'blu'; did you mean blue"):
        run.main(["--colour", "blu"], standalone_mode=False)
    with pytest.raises(typer.BadParameter):
        run.main(["--turns", "0"], standalone_mode=False)

    @with_keys_of(WithColour)
    class Some(Keys):
        """Keys."""

    keys: Any = Some(colour="blue", turns=2)
    assert keys.of(WithColour) == WithColour(colour="blue", turns=2)
    for wrong in ({"colour": "blu"}, {"turns": 0}, {"turns": True}, {"color": "red"}):
        with pytest.raises(ValidationError):
            Some(**wrong)
