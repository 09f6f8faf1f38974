"""What the documents say is so: commands, keys, rooms and files that they name exist."""

from __future__ import annotations

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
from seg_batch.config.cluster import ClusterSpec, read_spec
from seg_batch.config.workflow import read
from seg_batch.config.workflow.schema import Workflow
from seg_batch.config.workflow.steps import AnyStep
from tests.test_layers import ROWS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "CHANGELOG.md", "seg_batch/DESIGN.md", "workflows/README.md")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def commands() -> Iterator[list[str]]:
    """Words behind ``segbatch`` of each line that shows a command."""
    for block in fenced(README, "sh"):
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
def test_every_command_in_readme_is_understood(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]  # type: ignore[attr-defined]
    command.make_context(command.name, words)  # parses, runs nothing


def test_the_workflow_in_readme_is_valid_and_names_all_keys(tmp_path: Path) -> None:
    blocks = fenced(section("Workflow files"), "yaml")
    told = set()
    for block in blocks[:2]:  # inputs, steps
        path = tmp_path / "night.yaml"
        path.write_text(block)
        read(path)
        told |= keys_of(yaml.safe_load(block))
    assert told == keys_in(Workflow)
    path.write_text(blocks[2].replace("security", "# "))  # the folder is not there
    read_spec(str(path))
    assert keys_of(yaml.safe_load(blocks[2])) | {"workers"} >= keys_in(ClusterSpec)


@pytest.mark.parametrize("step", get_args(AnyStep), ids=lambda step: step.__name__)
def test_readme_names_all_keys_of_a_step(step: type[BaseModel]) -> None:
    name = get_args(step.model_fields["do"].annotation)[0]
    (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", section("Workflow files"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == own_keys(step).keys() - {"do", "name"}


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


def test_tests_that_readme_names_are_there() -> None:
    named = re.findall(r"`((?:tests|workflows|seg_batch)/[\w/.-]+)`", README)
    assert not [path for path in named if not (ROOT / path).exists()]


def test_design_shows_every_room() -> None:
    text = (ROOT / "seg_batch/DESIGN.md").read_text(encoding="utf-8")
    table = text.partition("\n## The rooms\n")[2].partition("Where would a change go?")[0]
    named = {name.rstrip("/") for name in re.findall(r"`(\w+/?)`", table)}
    assert {room for row in ROWS for room in row} - named == {"__main__"}
