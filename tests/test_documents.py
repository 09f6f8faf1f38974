"""What the documents say is so: commands, keys, rooms and files that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from seg_batch.cli.main import app
from seg_batch.config.card import ModelCard
from seg_batch.config.cluster import ClusterSpec, read_spec
from seg_batch.config.postprocess import STEPS
from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.manifest import Manifest
from seg_batch.config.workflow import read
from seg_batch.config.workflow.parts import InputCase
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep
from seg_batch.core.errors import Exit
from seg_batch.core.resources import DOCS
from tests.support.docs import HOW, TABLES, renewed, tables_of
from tests.test_layers import ROWS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
MANUAL = {"README": (ROOT / "README.md").read_text(encoding="utf-8"), **PAGES}
README = MANUAL["README"]
MOST_LINES = 200
DOCUMENTS = (
    *("README.md", "CHANGELOG.md", "seg_batch/DESIGN.md", "workflows/README.md"),
    *(f"seg_batch/docs/{name}.md" for name in PAGES),
)


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Words behind ``segbatch`` of each line that shows a command."""
    for block in (block for text in MANUAL.values() for block in fenced(text, "sh")):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words[:1] == ["segbatch"]:
                yield words[1:]


def own_keys(model: type[BaseModel]) -> dict[str, Any]:
    """Keys as a file has them, and what they hold."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def keys_in(model: type[BaseModel]) -> set[str]:
    """Those of a model and of the parts that it holds, but not of steps and cluster specs."""
    found = set()
    for name, kind in own_keys(model).items():
        found.add(name)
        for part in get_args(kind) if isinstance(kind, UnionType) else (kind,):
            if isinstance(part, type) and issubclass(part, BaseModel) and part is not ClusterSpec:
                found |= {f"{name}.{key}" for key in keys_in(part)}
    return found


def keys_of(plain: dict[str, Any]) -> set[str]:
    found = set(plain)
    for name, value in plain.items():
        found |= {f"{name}.{key}" for key in keys_of(value)} if isinstance(value, dict) else set()
    return found


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_in_the_manual_is_understood(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    command.make_context(command.name, words)  # parses, runs nothing


def told_in(name: str) -> set[str]:
    """The keys in the first column of a table."""
    text = next(found[name] for found in map(tables_of, PAGES.values()) if name in found)
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def test_the_workflow_in_the_manual_is_valid_and_names_all_keys(tmp_path: Path) -> None:
    blocks = fenced(PAGES["workflow"], "yaml")
    told = set()
    for block in blocks:  # inputs, steps
        path = tmp_path / "night.yaml"
        path.write_text(block)
        read(path)
        told |= keys_of(yaml.safe_load(block))
    assert len(blocks) == 2
    assert told == keys_in(Workflow)
    in_lists = {f"inputs.cases[].{key}" for key in keys_in(InputCase)}
    assert told_in("workflow") == keys_in(Workflow) | in_lists


def test_the_cluster_spec_in_the_manual_is_valid_and_names_all_keys(tmp_path: Path) -> None:
    (block,) = fenced(PAGES["cluster"], "yaml")
    path = tmp_path / "spec.yaml"
    path.write_text(block.replace("security", "# "))  # the folder is not there
    read_spec(str(path))
    assert keys_of(yaml.safe_load(block)) | {"workers"} >= keys_in(ClusterSpec)
    assert told_in("cluster") == keys_in(ClusterSpec)


@pytest.mark.parametrize("step", get_args(AnyStep), ids=lambda step: step.__name__)
def test_the_manual_names_all_keys_of_a_step(step: type[BaseModel]) -> None:
    name = get_args(step.model_fields["do"].annotation)[0]
    assert told_in(name) == own_keys(step).keys() - {"do"}


@pytest.mark.parametrize(
    ("table", "model"), [("recipe", Recipe), ("manifest", Manifest), ("card", ModelCard)]
)
def test_the_manual_names_all_keys_of(table: str, model: type[BaseModel]) -> None:
    assert {key for key in told_in(table) if "[]" not in key} >= keys_in(model)


def test_the_manual_names_all_steps_that_follow_prediction() -> None:
    assert {key.partition(".")[0] for key in told_in("post")} == STEPS.keys()


def test_the_manual_names_all_exit_statuses() -> None:
    for text in (README, tables_of(PAGES["exit_statuses"])["exits"]):
        assert set(map(int, re.findall(r"^\| (\d+) \|", text, re.MULTILINE))) == set(Exit)


def names_in_code(path: str, table: str) -> set[str]:
    """The keys of a dict, without an import of Keras."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    (found,) = (n for n in body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == table)
    assert isinstance(found.value, ast.Dict)
    return {ast.literal_eval(key) for key in found.value.keys if key is not None}


def test_the_manual_names_all_networks_and_losses() -> None:
    networks = PAGES["networks"].partition("<!-- networks -->")[2].partition("<!-- end")[0]
    losses = PAGES["recipe"].partition("\n## Losses\n")[2].partition("\n## ")[0]
    known = names_in_code("seg_batch/nn/networks/registry.py", "ARCHITECTURES")
    assert set(re.findall(r"^\| `(\w+)`", networks, re.MULTILINE)) == known
    known = names_in_code("seg_batch/nn/losses/build.py", "LOSSES")
    assert set(re.findall(r"^\| `(\w+)` \|", losses, re.MULTILINE)) - {"name"} == known


def test_every_table_is_made_somewhere_once() -> None:
    assert sorted(name for text in PAGES.values() for name in tables_of(text)) == sorted(TABLES)


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_a_page_are_up_to_date(name: str) -> None:
    assert PAGES[name] == renewed(PAGES[name]), f"renew them: {HOW}"
    empty = re.findall(r"^(\|.*\|  \|)$", PAGES[name], re.MULTILINE)
    assert not empty, "say in the last column what it means"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_begins_with_what_it_tells_and_readme_leads_to_it(name: str) -> None:
    title, empty, tells, end = PAGES[name].split("\n")[:4]
    assert (title[:2], empty, tells[-1:], end) == ("# ", "", ".", "")
    assert f"](seg_batch/docs/{name}.md" in README


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def anchors(text: str) -> set[str]:
    """Of the headings of a document, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).replace(" ", "-").lower() for line in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert "://" in target or there.exists(), target
        if anchor and "://" not in target:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("name", MANUAL)
def test_files_that_the_manual_names_are_there(name: str) -> None:
    named = re.findall(r"`((?:tests|workflows|seg_batch)/[\w/.-]+)`", MANUAL[name])
    assert not [path for path in named if not (ROOT / path).exists()]


def test_design_shows_every_room() -> None:
    text = (ROOT / "seg_batch/DESIGN.md").read_text(encoding="utf-8")
    table = text.partition("\n## The rooms\n")[2].partition("Where would a change go?")[0]
    named = {name.rstrip("/") for name in re.findall(r"`(\w+/?)`", table)}
    assert {room for row in ROWS for room in row} - named == {"__main__"}
