"""The house (design section 4): each row imports from the rows above it and from its own room.

Lazy imports count: they are how cycles hide. A module that is in no row fails: place it first.
"""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seg_batch"

# Room -> libraries it may use. A room is a module or a folder of them.
ROWS: list[dict[str, str]] = [
    {"errors": "", "machine": "", "named": "", "version": ""},
    {"yaml_tree": "yaml"},
    {
        "geometry": "",
        "executors": "dask distributed dask_cuda cryptography pydantic",
        "chain": "pydantic",
        "journal": "",
    },
    {"taper": "numpy", "georef": "numpy", "normalise": "numpy", "card": "pydantic", "logs": ""},
    {"recipe": "pydantic yaml", "advice": ""},
    {
        "sources": "numpy rasterio affine nibabel zarr scipy",
        "metrics": "numpy scipy",
        "postprocess": "numpy scipy",
    },
    {"sinks": "numpy rasterio affine nibabel zarr numcodecs", "probe": "numpy"},
    {"bundles": ""},
    {
        "nn": "numpy keras tensorflow jax torch openvino nncf onnx onnxruntime tf2onnx ai_edge_litert"
    },
    {
        "budget": "numpy",
        "options": "",
        "stitch": "numpy",
        "dataset": "numpy zarr scipy",
        "augment": "numpy scipy",
    },
    {"tta": "numpy", "ensemble": "numpy", "tiling": ""},
    {"plan": "numpy", "samples": "numpy", "workflow": "pydantic yaml"},
    {"verbs": "numpy jinja2 matplotlib"},
    {"batch": "numpy"},
    {"steps": "", "watch": ""},
    {"morning": "numpy jinja2 matplotlib"},
    {"progress": "rich"},
    {"tally": ""},
    {"live": "rich"},
    {"cli_options": "typer"},
    {
        "cli_predict": "typer",
        "cli_train": "typer",
        "cli_evaluate": "typer",
        "cli_export": "typer",
        "cli_models": "typer",
        "cli_run": "typer",
        "cli_report": "typer",
        "cli_status": "typer",
        "cli_cluster": "typer",
    },
    {"cli_watch": "typer"},
    {"cli": "typer rich click"},
    {"__main__": ""},
]
ROW = {room: i for i, row in enumerate(ROWS) for room in row}
LIBRARIES = {room: set(names.split()) for row in ROWS for room, names in row.items()}
CLOSED = {"seg_batch.nn.backend.keras", "seg_batch.nn.backend.tf"}  # not by the back door either
FACE = "seg_batch"  # seg_batch/__init__.py shows what the verbs offer; nothing inside looks at it


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(name: str) -> str:
    return name.partition(".")[2].split(".")[0]


def imports(name: str) -> Iterator[str]:
    """Full names of the modules that ``name`` imports, anywhere in its file."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write the import out in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            assert room(name) == "nn" or not CLOSED & set(full), f"{name}:{node.lineno}: Keras"
            yield from (item if item in MODULES else str(node.module) for item in full)


@pytest.mark.parametrize("name", [name for name in MODULES if name != FACE])
def test_a_module_imports_only_what_its_row_allows(name: str) -> None:
    assert room(name) in ROW, f"{name} is in no row of the table: give it one"
    for other in set(imports(name)):
        top = other.split(".")[0]
        if top != FACE:
            fits = top in sys.stdlib_module_names or top in LIBRARIES[room(name)]
            assert fits, f"{name} may not use {top}"
        elif other == FACE or room(other) != room(name):
            assert other != FACE, f"{name} imports the package's face"
            assert ROW[room(other)] < ROW[room(name)], f"{name} may not import {other}"


def test_no_import_cycles() -> None:
    ours = {name: {o for o in imports(name) if o in MODULES} for name in MODULES}
    graphlib.TopologicalSorter(ours).prepare()
