"""Names on disk are spelled once: in ``core.run_files``, or by the one module that owns them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core import run_files
from seg_batch.core.run_files import (
    NAME_BYTES,
    PART,
    REPORT,
    kept_journal,
    path_beside,
    shortened,
)

PACKAGE = Path(run_files.__file__).parents[1]
HOME = Path(run_files.__file__)
NAMES = {
    value
    for name, told in vars(run_files).items()
    if name.isupper()
    for value in (told if isinstance(told, tuple) else (told,))
    if isinstance(value, str)
}
NAMES |= {"journal-until-"}
# Ends what many write that is no report of ours.
TOO_COMMON = {REPORT}
BEGINS = r"(?<!\w)"
WITHIN = re.compile(
    "|".join(rf"{BEGINS * n[0].isalpha()}{re.escape(n)}(?!\w)" for n in sorted(NAMES - TOO_COMMON))
)
# Folders within a place that one module owns: nobody else goes there.
OWNED = {"done", "lock", "exported.json", "steps.json", "staged"}


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The strings of a module, parts of f-strings included, but for what is said of it."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


def spelled(source: str) -> list[str]:
    """Names of ``run_files`` that stand as literals in this text."""
    tree = ast.parse(source)
    return [
        f"{node.lineno}: {node.value!r}" for node in texts(tree) if WITHIN.search(str(node.value))
    ]


def entered(source: str) -> list[str]:
    """Owned folders and files that are joined to a path as literals in this text."""
    joined = [
        node.right
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
    ]
    return [
        f"{node.lineno}: {node.value!r}"
        for node in joined
        if isinstance(node, ast.Constant) and node.value in OWNED
    ]


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != HOME]


@pytest.mark.parametrize("look", [spelled, entered])
def test_spelled_nowhere_else(look) -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in MODULES
        if (lines := look(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        'x + ".work.zarr"',
        'f"{x}.part-{pid}"',
        'glob("*.partial")',
        'f".try-{n}"',
        'x = "a/.segbatch/b"',
    ],
)
def test_is_seen(line: str) -> None:
    assert spelled(line)


@pytest.mark.parametrize(
    "line", ['"retry-later"', '"seg_batch.participants"', '"distributed.worker"']
)
def test_is_another_word(line: str) -> None:
    assert not spelled(line)


def test_folder_is_seen() -> None:
    assert entered('store / "done" / name')
    assert not entered('fate == "done"')


@given(
    names=st.lists(
        st.text("aé\U0001f600", min_size=1, max_size=255), min_size=2, max_size=2, unique=True
    ),
    room=st.integers(1, 120),
)
def test_no_name_is_too_long_and_no_two_are_one(names: list[str], room: int) -> None:
    short = [shortened(name, room) for name in names]
    assert short[0] != short[1]
    for name, shorter in zip(names, short, strict=True):
        assert len(shorter.encode()) + room <= NAME_BYTES
        assert (shorter == name) is (len(name.encode()) + room <= NAME_BYTES)
        assert shortened(shorter, room) == shorter


def test_beside() -> None:
    assert path_beside(Path("/a/x.nii.gz"), PART) == Path("/a/x.nii.gz.part")
    assert kept_journal("x") == "journal-until-x.jsonl"
