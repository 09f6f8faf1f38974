"""Makes the kept data anew: ``python -m tests.support.make_kept``. Do so for a new format only.

The data is worth most where it is oldest: it shows that today's code goes on with what an earlier
version left. Runs are killed (SIGKILL) once some of their blocks are done, and tried again where the
kill came too late; what names the machine is replaced.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seg_batch.datasets.patch_set import PatchSet
from tests.support import kept
from tests.support.digests import of_array
from tests.support.record_inputs import (
    MANIFEST,
    RECIPE,
    TIME_NS,
    places,
    rasters,
    truths,
    write_tiff,
)

BUNDLES = kept.KEPT / "bundles"
EXPECTED = kept.KEPT / "expected.json"
HOST = {"host": "nighthost", "place": "another machine"}
WIDE = (4, 8192)
BLOCKS = 8
NIGHT = """
inputs: inputs
model: probe
options: {block: [1024, 1024]}
outputs: maps
limits: {memory: 2GiB}
cluster: inline
"""
PREDICT = (
    f"predict wide.tif -o out.tif --model {BUNDLES}/exact-scene --probabilities --block 1024,1024 "
    "--engine tensorflow --precision float32 --taper linear --cluster inline --memory 2GiB -q"
)


def started(folder: Path, command: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "seg_batch", *command.split()]
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(words, cwd=folder, env={**os.environ, "PYTHONPATH": root})


def killed(folder: Path, command: str, enough: Callable[[], bool]) -> None:
    """Run the command in ``folder`` and kill it as soon as that is ``enough``, or it ends."""
    process = started(folder, command)
    while process.poll() is None and not enough():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def done(folder: Path, command: str) -> None:
    assert started(folder, command).wait() == 0, command


def markers(store: Path) -> int:
    return len(list(store.glob("done/*.*.json")))


def untimed(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(TIME_NS, TIME_NS))


def night(folder: Path) -> bool:
    """Six small inputs and a wide one; two to five products, and a half-filled store."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    for k in range(6):
        write_tiff(inputs / f"small{k}.tif", [places(20, 24, seed=k)], "uint8", compress="deflate")
    write_tiff(inputs / "wide.tif", [places(*WIDE, seed=3)], "uint8", compress="deflate")
    untimed(inputs)
    (folder / "night.yaml").write_text(NIGHT)
    maps = folder / "maps"
    store = maps / "wide_labels.tif.work.zarr"

    def products() -> int:
        path = maps / ".segbatch" / "night" / "journal.jsonl"
        return path.read_text().count('"event":"done"') if path.exists() else 0

    killed(folder, "run night.yaml -q", lambda: products() >= 2 and markers(store) >= 3)
    _without_host(maps / ".segbatch" / "night")
    return 2 <= products() <= 5 and 3 <= markers(store) < BLOCKS


def _without_host(run: Path) -> None:
    """Journal and lock as another machine left them."""
    for path in (*run.glob("lock/*.json"), *run.glob("*.jsonl")):
        told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        told = [{k: HOST.get(k, v) for k, v in one.items()} for one in told]
        lines = [json.dumps(one, separators=(",", ":")) for one in told]
        path.write_text("\n".join(lines) + ("\n" if path.suffix == ".jsonl" else ""), "utf-8")


def store(folder: Path) -> bool:
    """An input of two bands, of which some blocks are predicted and none is exported."""
    folder.mkdir(parents=True)
    bands = [places(*WIDE, seed=6), places(*WIDE, most=32, seed=7)]
    write_tiff(folder / "wide.tif", bands, "uint8", compress="deflate")
    untimed(folder)
    work = folder / "out.tif.work.zarr"
    killed(folder, PREDICT, lambda: markers(work) >= 3)
    return 3 <= markers(work) < BLOCKS


def product(folder: Path) -> bool:
    """A product with probabilities, its report, and the input it was made of."""
    folder.mkdir(parents=True)
    write_tiff(folder / "wide.tif", [places(30, 40), places(30, 40, most=32, seed=2)], "uint8")
    untimed(folder)
    done(folder, PREDICT)
    return True


def contents(path: Path) -> dict[str, Any]:
    """Digests of everything that a training reads of a dataset."""
    patches = PatchSet(path)
    rows = [patches.read(row) for row in range(len(patches.split))]
    columns = ("split", "histogram", "start", "case", "valid")
    held = [one for part in ("validation", "test") for one in patches.held(part)]
    return {
        "images": of_array(np.stack([image for image, _ in rows])),
        "labels": of_array(np.stack([label for _, label in rows])),
        **{name: of_array(getattr(patches, name)) for name in columns},
        "held": [of_array(one.read(one.box).values) for one in held],
        "truth": [of_array(one.truth(one.box)[0]) for one in held],
        "hold out": patches.hold_out,
        "cases": [one["case"] for one in patches.cases],
        "recipe": patches.recipe.model_dump(mode="json"),
    }


def patches(folder: Path) -> bool:
    """A dataset of three cases, and the files that it was cut from."""
    folder.mkdir(parents=True)
    rasters(folder)
    truths(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "cases.yaml").write_text(MANIFEST)
    untimed(folder)
    done(folder, "patches cases.yaml -o made.zarr --recipe recipe.yaml -q")
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    expected = json.dumps({"patches": contents(folder / "made.zarr")}, indent=1)
    EXPECTED.write_text(expected + "\n", encoding="utf-8")
    return True


def trained(folder: Path) -> bool:
    """A bundle of three steps of training on the dataset."""
    before = kept.unpack("patches", folder.parent)
    done(folder.parent, f"train {before}/made.zarr -o {folder} -q")
    shutil.rmtree(before)
    (folder / "curves.png").unlink()  # large, and no part of the model
    return True


SETS = {"night": night, "store": store, "product": product, "patches": patches, "trained": trained}


def main(names: list[str]) -> None:
    for name in names or SETS:
        with tempfile.TemporaryDirectory() as temporary:
            tries = (Path(temporary).resolve() / str(k) / "made" for k in range(20))
            folder = next(folder for folder in tries if SETS[name](folder))
            kept.pack(folder, name)
            print(f"{name}: {(kept.KEPT / f'{name}.zip').stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
