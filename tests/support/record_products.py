"""The recorded products: the commands that make them. Each has a folder, which its commands fill.

Commands are those of the command line, run one after the other in this process, so that libraries
are loaded once. ``{i}`` stands for the folder of inputs, ``{b}`` for that of the kept bundles, and
``{p}`` for that of all products; ``> name`` at the end keeps what is printed. The exact bundles (see
``exact_models``) give the same bits in every engine, so one product is enough for OpenVINO.

A linear taper is exact everywhere, too, while sines (Hann) and exponentials (Gaussian) may differ in a
last bit from CPU to CPU. In the products with those, no two scores are closer than 40 last bits, and no
probability is closer than four to where its 8 bits change.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from pathlib import Path

import click
import typer

from seg_batch.cli.main import app
from seg_batch.core.errors import SegbatchError

HERE = "--cluster inline --memory 2GiB"
EXACT = f"{HERE} --precision float32 --engine tensorflow"
LINEAR = f"{EXACT} --taper linear"
OPENVINO = f"{HERE} --precision float32 --engine openvino"
SCENE = "--model {b}/exact-scene"
PROBE = f"--model probe {HERE}"
CHAIN = "--post majority:3 --post 'min_size:6,residue 5=0.4ha' --post 'largest:residue 3'"

PRODUCTS: dict[str, tuple[str, ...]] = {
    "raster-blocks": (f"predict {{i}}/strip.tif -o out.tif {PROBE} --block 20,1024 -q",),
    "raster-default-name": (f"predict {{i}}/grey.tif {PROBE} --json > printed.json",),
    "raster-float-nan": (f"predict {{i}}/float.tif -o out.tif {PROBE} -q",),
    "raster-png": (f"predict {{i}}/plain.png -o out.tif {PROBE} -q",),
    "raster-openvino": (f"predict {{i}}/two.tif -o out.tif {SCENE} {OPENVINO} --overlap auto -q",),
    "raster-nodata": (
        f"predict {{i}}/nodata.tif -o out.tif {SCENE} {LINEAR} --probabilities -q",
        "verify out.tif --json > verified.json",
    ),
    "raster-south-up": (
        f"predict {{i}}/south.tif -o out.tif {SCENE} {EXACT} --taper gaussian --batch 3 -q",
    ),
    "raster-seams": (
        f"predict {{i}}/strip2.tif -o out.tif {SCENE} {LINEAR} --probabilities --block 20,1024 -q",
    ),
    "several": (f"predict {{i}}/two.tif {{i}}/south.tif -o . {SCENE} {EXACT} --json > all.json",),
    "volume": (
        f"predict {{i}}/body.nii.gz -o out.nii.gz --model {{b}}/exact-body {LINEAR} "
        "--probabilities -q",
        "verify out.nii.gz --json > verified.json",
    ),
    "volume-of-series": (f"predict {{i}}/series.nii -o out.nii {PROBE} --volume 1 -q",),
    "zarr-volume-in": (
        f"predict {{i}}/body.zarr -o out.nii --model {{b}}/exact-body {LINEAR} --overlap 4 -q",
    ),
    "zarr-in-and-out": (
        f"predict {{i}}/two.zarr -o out.zarr {SCENE} {EXACT} --probabilities -q",
        "verify out.zarr --json > verified.json",
    ),
    "zarr-out": (f"predict {{i}}/body.nii.gz -o out.zarr {PROBE} --post largest -q",),
    "slices-of-volume": (
        f"predict {{i}}/body.nii.gz -o out.nii.gz --model {{b}}/exact-slice {LINEAR} -q",
    ),
    "finer-grid": (
        f"predict {{i}}/grey.tif -o out.tif --model {{b}}/exact-finer {LINEAR} --probabilities -q",
    ),
    "views-of-raster": (
        f"predict {{i}}/two.tif -o out.tif {SCENE} {LINEAR} --tta d4 --probabilities -q",
    ),
    "views-of-volume": (
        f"predict {{i}}/body.nii.gz -o out.nii --model {{b}}/exact-body {LINEAR} --tta flips -q",
    ),
    "ensemble": (
        f"predict {{i}}/two.tif -o out.tif {SCENE} --model {{b}}/exact-scene-2 {LINEAR} "
        "--probabilities -q",
    ),
    "post-objects": (
        f"predict {{i}}/strip.tif -o out.tif {PROBE} {CHAIN} --post fill_holes "
        "--block 20,1024 --json > printed.json",
    ),
    "post-threshold": (
        f"predict {{i}}/two.tif -o out.tif {SCENE} {EXACT} --taper crop "
        "--post threshold:water=0.4 --post fill_holes -q",
    ),
    "post-crf": (f"predict {{i}}/two.tif -o out.tif {SCENE} {LINEAR} --post crf -q",),
    "plan": (
        f"plan {{i}}/strip2.tif {SCENE} {EXACT} --tta flips --post crf --json > raster.json",
        f"plan {{i}}/body.nii.gz --model {{b}}/exact-body {EXACT} --json > volume.json",
    ),
    "inspect": tuple(
        f"inspect {{i}}/{name} --json > {name.replace('.', '_')}.json"
        for name in ("nodata.tif", "south.tif", "plain.png", "body.nii.gz", "body.zarr", "two.zarr")
    ),
    "models": (
        "models {b}/exact-scene --json > scene.json",
        "models {b}/exact-body --json > body.json",
        "models import {b}/exact-slice/model.keras --channels grey --classes 0=a,3=b,5=c "
        "-o imported",
    ),
    "night": ("run {i}/night.yaml --json > printed.json",),
    "steps": ("run {i}/steps.yaml --json > printed.json",),
    "patches": ("patches {i}/cases.yaml -o made.zarr --recipe {i}/recipe.yaml -q",),
    "patches-of-boxes": (
        "patches {i}/two.tif={i}/two_truth.tif -o made.zarr --recipe {i}/recipe.yaml -q "
        "--set cut.patch=[32,32] --set hold_out.validation.boxes=[[[0,0],[24,40]]] "
        "--set hold_out.test.boxes=[[[70,4],[98,80]]] --set hold_out.gap=2",
    ),
    "train": ("train {p}/patches/made.zarr -o bundle --json > printed.json",),
    "evaluate-files": (
        "evaluate {p}/several/two_labels.tif {i}/two_truth.tif -o raster --images {i}/two.tif -q",
        "evaluate {p}/volume/out.nii.gz {i}/body_truth.nii.gz -o volume -q",
    ),
    "evaluate-bundle": (
        "evaluate {p}/patches/made.zarr --model {b}/exact-scene --split test "
        "--engine tensorflow --precision float32 -o scores -q",
    ),
}
# What was trained follows the CPU in its last bits, and so does all that was measured with it.
UNSETTLED = {
    "train": frozenset({"scores", "border", "best_step"}),
}
STATUS = {"night": 3}  # one of its inputs is not there


def make(name: str, root: Path, bundles: Path) -> None:
    """The folder ``root/products/name``, filled. AssertionError where a command did not end well."""
    folder = root / "products" / name
    folder.mkdir(parents=True)
    places = {"i": root / "inputs", "b": bundles, "p": root / "products"}
    with contextlib.chdir(folder):
        for line in PRODUCTS[name]:
            command, _, kept = line.format(**places).partition(" > ")
            status, printed = run(command)
            assert status == STATUS.get(name, 0), f"{command}: exit status {status}\n{printed}"
            if kept:
                Path(kept).write_text(printed, encoding="utf-8")


def run(command: str) -> tuple[int, str]:
    """Exit status and standard output of ``segbatch COMMAND``, run in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = app(shlex.split(command), standalone_mode=False) or 0
        except typer.Exit as ending:
            status = ending.exit_code
        except click.ClickException as error:
            status, _ = 2, printed.write(error.format_message())
        except SegbatchError as error:
            status, _ = error.status, printed.write(error.message)
    return int(status), printed.getvalue()


def files(folder: Path) -> list[Path]:
    """What is told of a product: its files, a Zarr being one, but no locks and no empty folders."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        whole = [name for name in folders if name.endswith(".zarr")]
        folders[:] = sorted(set(folders) - set(whole) - {"lock"})
        found += [Path(parent, name) for name in (*whole, *names)]
    return sorted(found)
