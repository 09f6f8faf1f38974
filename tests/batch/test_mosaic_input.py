"""A run of one mosaic: hundreds of files that are one input, under a name that does not depend on which they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from seg_batch.batch.dry_run import plan_run
from seg_batch.batch.inputs.expand import expand_inputs
from seg_batch.batch.report import write
from seg_batch.batch.run import run_unattended
from seg_batch.config.workflow import Workflow
from seg_batch.config.workflow.parts import InputSettings
from seg_batch.core.callbacks import Callback
from tests.support.files import address_raster, write_raster
from tests.support.io.mosaics import PLACE

SIDE, COUNT = 16, 20


def tiles(folder: Path, count: int = COUNT) -> np.ndarray:
    """Pieces, in rows of ``count``; the scene that they are cut from."""
    folder.mkdir()
    scene = address_raster((SIDE * count, SIDE * count), 1, "uint8")
    for i, j in np.ndindex(count, count):
        row, column = i * SIDE, j * SIDE
        part = scene[:, row : row + SIDE, column : column + SIDE]
        place = PLACE @ Affine.translation(column, row)
        write_raster(folder / f"land_{i:02}_{j:02}.tif", part, transform=place, tiled=False)
    return scene[0]


@pytest.mark.full
def test_a_run_of_400_tiles_is_one_input(night: Callable[..., Workflow], tmp_path: Path) -> None:
    scene, out = tiles(tmp_path / "in"), tmp_path / "out"
    workflow = night(
        inputs={"mosaic": f"{tmp_path}/in/*.tif"},
        outputs={"folder": str(out), "pictures": False},
    )
    (key,) = plan_run(workflow)["inputs"]
    assert key == f"{tmp_path}/in/*.tif#mosaic"
    assert run_unattended(workflow, Callback(), print, write)["status"] == 0
    facts = json.loads((Path(workflow.run_folder) / "report.json").read_text())
    assert [row["input"] for row in facts["inputs"]] == [key]
    with rasterio.open(out / "land_labels.tif") as file:
        assert np.array_equal(file.read(1), scene % 8)
    journal = (Path(workflow.run_folder) / "journal.jsonl").read_text()
    assert len(journal) < 100_000


@pytest.mark.full
def test_a_run_writes_a_map_of_each_piece(night: Callable[..., Workflow], tmp_path: Path) -> None:
    """Beside the pieces, where the next run passes them over."""
    tiles(tmp_path / "in", 3)
    outputs = {"folder": str(tmp_path / "out"), "tiles": str(tmp_path / "in")}
    workflow = night(inputs={"mosaic": f"{tmp_path}/in/*.tif"}, outputs=outputs)
    for _ in range(2):
        assert run_unattended(workflow, Callback(), print, write)["status"] == 0
        assert len([*(tmp_path / "in").glob("*_labels.tif")]) == 9
        assert workflow.inputs is not None
        (spec,) = expand_inputs(workflow.inputs)
        assert len(spec.files) == 9
    lost = sorted((tmp_path / "in").glob("*_labels.tif"))[4]
    kept = lost.read_bytes()
    lost.unlink()
    assert run_unattended(workflow, Callback(), print, write)["status"] == 0
    assert lost.read_bytes() == kept


def test_pieces_of_folders_patterns_and_files(tmp_path: Path) -> None:
    for name in ("a/1.tif", "a/2.tif", "b/3.tif", "b/skip.tif", "c.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"II*\0")
    texts = [f"{tmp_path}/b/*.tif", f"{tmp_path}/a", f"{tmp_path}/c.tif", f"{tmp_path}/a/1.tif"]

    def made(*texts: str, **more: Any) -> Any:
        (spec,) = expand_inputs(InputSettings(mosaic=texts, exclude=("skip.tif",), **more))
        return spec

    spec = made(*texts)
    assert [Path(path).name for path in spec.files] == ["3.tif", "1.tif", "2.tif", "c.tif"]
    assert spec.mosaic
    key = spec.key
    (tmp_path / "b/4.tif").write_bytes(b"II*\0")
    assert made(*texts).key == key
    many = made(*(f"{tmp_path}/a/{n % 2 + 1}.tif" for n in range(500)))
    assert len(many.key) < len(str(tmp_path)) + 60
    assert "no image there" in made(f"{tmp_path}/none*.tif").error
    assert "leaves no piece" in made(f"{tmp_path}/b/skip.tif").error


def test_maps_of_pieces_are_asked_for_with_a_mosaic(night: Callable[..., Workflow]) -> None:
    """Where there is none they would never be written, and the run would say nothing of it."""
    outputs = {"folder": "out", "tiles": "out/tiles"}
    step = {"name": "a", "do": "predict", "inputs": "x.tif", "outputs": outputs}
    for keys in ({"inputs": "x.tif", "outputs": outputs}, {"steps": [step], "outputs": "out"}):
        with pytest.raises(ValueError, match=r"outputs.tiles.*give inputs.mosaic"):
            Workflow.model_validate({"name": "night", **keys})
    assert night(inputs={"mosaic": "x.tif"}, outputs=outputs).outputs.tiles
