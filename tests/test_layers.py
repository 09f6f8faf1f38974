"""The house: each row of packages imports from the rows above it and from its own package.

Lazy imports count: they are how cycles hide. So do imports for type checkers alone. A package or
module that is in no row fails: place it first.
"""

import ast
import graphlib
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seg_batch"
MOST_IN_A_FOLDER = 15

# Package -> libraries it may use. Those on one row do not know each other.
ROWS: list[dict[str, str]] = [
    {"core": "numpy numba"},
    {"config": "pydantic pydantic_core yaml"},
    {
        "executors": "dask distributed dask_cuda cryptography",
        "io": "numpy scipy rasterio affine nibabel zarr numcodecs jinja2 contourpy pydicom highdicom pynetdicom PIL shapely pyogrio pyarrow obstore urllib3 pystac xarray",
        "nn": "numpy keras tensorflow jax torch openvino nncf onnx onnxruntime tf2onnx ai_edge_litert dynamic_network_architectures",
    },
    {"inference": "numpy scipy xarray"},
    {"datasets": "numpy zarr scipy shapely"},
    {"evaluation": "numpy scipy shapely"},
    {"training": "numpy matplotlib", "conversion": "numpy pydantic", "library": ""},
    {"batch": "numpy jinja2 pystac pystac_client"},
    {"cli": "typer rich click numpy"},
    {"__main__": ""},
]
# The same within a package: what stands in no row of it is ``REST``, whose members may know each
# other; where there is no ``REST``, everything has to be placed.
REST = "*"
INSIDE: dict[str, list[str]] = {
    "core": [
        "errors hardware text resources run_files",
        "geometry units files registry kernels spells",
        "events",
        "taper georef normalise callbacks versions resample outlines",
        "statistics privacy",
    ],
    "config": [
        "options yaml_source common_names colours",
        "image_options overrides validation",
        "predict_options",
        "cluster command_options postprocess card_parts bundle_index",
        "card",
        "card_file recipe",
        "workflow",
    ],
    "io": [
        "dicom archive remote",
        "sources pictures html lettering",
        "quicklook vectors",
        "sheet",
        "sinks",
        "formats",
    ],
    "inference": [
        "probe postprocess sliding_window",
        "bundles costs",
        "fit",
        "ensemble plan",
        REST,
    ],
    "datasets": ["split store augment", "patch_set work_folder", "samples", REST],
    "evaluation": ["metrics", REST],
    "training": ["autoconfig", REST],
    "library": ["fetch users_folder", REST, "add publish"],
    "conversion": [
        "words",
        "declared bundle_folder real_pass sample_patches test_tensor",
        "cards keras_import onnx_import",
        REST,
        "import_model export",
    ],
    "batch": ["journal inputs run_log", REST, "steps watch", "report"],
    "cli": [
        "display options",
        "model_commands",
        "cluster demo docs evaluate export models predict report run status train",
        "watch",
        "main",
    ],
}
ROW = {room: i for i, row in enumerate(ROWS) for room in row}
LIBRARIES = {room: set(names.split()) for row in ROWS for room, names in row.items()}
CLOSED = {"seg_batch.nn.backend.keras", "seg_batch.nn.backend.tf"}  # not by the back door either
# The layers between a file and a model, which only the door to them puts together.
VIEWS = "seg_batch.io.sources.views"
LAYERS = {
    f"{VIEWS}.{layer}"
    for layer in ("stacked", "aligned", "oriented", "resampled", "resampled_labels", "upsampled")
}
FACE = "seg_batch"  # seg_batch/__init__.py shows what users call; nothing inside looks at it


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(name: str, depth: int = 1) -> str:
    """The package of a module; ``depth`` 2: the module or folder in it. Empty for what is above."""
    return "".join(name.split(".")[depth : depth + 1])


@cache
def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that ``name`` imports, anywhere in this part of its file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: write the import out in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            assert room(name) == "nn" or not CLOSED & set(full), f"{name}:{node.lineno}: Keras"
            yield from (item if item in MODULES else str(node.module) for item in full)


def place_inside(package: str, part: str) -> int:
    """The row of a module or folder within its package."""
    rows = [row.split() for row in INSIDE[package]]
    places = [i for i, row in enumerate(rows) if part in row] or [
        i for i, row in enumerate(rows) if REST in row
    ]
    assert places, f"{package}.{part} is in no row of INSIDE: give it one"
    return places[0]


@pytest.mark.parametrize("name", [name for name in MODULES if name != FACE])
def test_a_module_imports_only_what_its_row_allows(name: str) -> None:
    assert room(name) in ROW, f"{name} is in no row of the table: give it one"
    for other in set(imports(name, parsed(name))):
        top = other.split(".")[0]
        if top != FACE:
            fits = top in sys.stdlib_module_names or top in LIBRARIES[room(name)]
            assert fits, f"{name} may not use {top}"
        elif other == FACE or room(other) != room(name):
            assert other != FACE, f"{name} imports the package's face"
            assert ROW[room(other)] < ROW[room(name)], f"{name} may not import {other}"


@pytest.mark.parametrize("package", INSIDE)
def test_order_within_a_package(package: str) -> None:
    free = INSIDE[package].index(REST) if REST in INSIDE[package] else -1
    for name in (name for name in MODULES if room(name) == package and room(name, 2)):
        here = place_inside(package, room(name, 2))
        for other in set(imports(name, parsed(name))):
            part = room(other, 2)
            if room(other) != package or part in ("", room(name, 2)):
                continue
            there = place_inside(package, part)
            assert there < here or here == there == free, f"{name} may not import {other}"


def test_nobody_composes_the_view_of_a_model_but_the_door_to_it() -> None:
    """What a model sees is said once, in ``views.open_view``, with the order of the layers."""
    for name in (name for name in MODULES if not name.startswith(VIEWS)):
        assert not LAYERS & set(imports(name, parsed(name))), f"{name}: use open_view"
    doors = (f"{VIEWS}.open_view", f"{VIEWS}.image_spec", f"{VIEWS}.joined.joined")
    door = {name for each in doors for name in imports(each, parsed(each))}
    assert door >= LAYERS, "a layer is gone, or has another name"


def test_no_import_cycles() -> None:
    ours = {}
    for name in MODULES:
        ours[name] = {other for other in imports(name, parsed(name)) if other in MODULES}
    graphlib.TopologicalSorter(ours).prepare()


def test_no_folder_is_too_full_to_be_read() -> None:
    full = Counter(path.parent.relative_to(PACKAGE) for path in MODULES.values())
    assert not {str(folder): n for folder, n in full.items() if n > MOST_IN_A_FOLDER}
