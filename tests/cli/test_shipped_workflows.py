"""The workflows that come with segbatch, run as a user would, on small inputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_geom
from rasterio.windows import Window

from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.config.workflow import read
from seg_batch.core.resources import SAMPLES
from tests.support.dicom_files import write_series

WORKFLOWS = Path(__file__).parents[2] / "workflows"


def run(name: str, *more: str, **env: str) -> dict:
    command = [sys.executable, "-m", "seg_batch", "run", str(WORKFLOWS / f"{name}.yaml"), "--json"]
    done = subprocess.run(
        [*command, *more], env={**os.environ, **env}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)


def volumes(folder: Path) -> Path:
    """Two people's volumes, one of them twice, a DICOM series, and files that are to be left out."""
    for person in ("ann", "bob"):
        (folder / person).mkdir(parents=True)
        shutil.copy(SAMPLES / "hippocampus_001.nii.gz", folder / person / "ct.nii.gz")
    shutil.copy(SAMPLES / "hippocampus_143.nii.gz", folder / "bob" / "ct_2.nii.gz")
    write_series(folder / "bob" / "series", (6, 20, 24))
    (folder / "bob" / "ct_seg.nii.gz").touch()
    (folder / "ann" / "scouts").mkdir()
    (folder / "ann" / "scouts" / "s.nii").touch()
    return folder


def scenes(folder: Path) -> Path:
    folder.mkdir()
    with rasterio.open(SAMPLES / "zion_landsat8.tif") as file:
        for n, corner in enumerate(((0, 0), (200, 100))):
            window = Window(*corner, 200, 160)
            profile = {
                **file.profile,
                "width": 200,
                "height": 160,
                "transform": file.window_transform(window),
            }
            profile |= {"driver": "GTiff", "tiled": False}
            with rasterio.open(folder / f"scene_{n}.tif", "w", **profile) as cut:
                cut.write(file.read(window=window))
    return folder


def test_overnight_ct_names_its_inputs_and_outputs(tmp_path: Path) -> None:
    data = volumes(tmp_path / "scans")
    codes, out = tmp_path / "codes.json", tmp_path / "out"
    env = {"DATA": str(data), "OUT": str(out), "CODES": str(codes)}
    found = list_inputs(read(WORKFLOWS / "overnight_ct.yaml", env=env))
    assert not found.refused
    named = {name_of(Path(one.output), codes): Path(one.output) for one in found.specs}
    assert named.keys() == {"ann/ct.nii.gz", "bob/ct.nii.gz", "bob/ct_2.nii.gz", "bob/series"}
    for path in named.values():
        assert re.fullmatch(
            r"[0-9a-f]{16}/[0-9a-f]{16}_labels\.nii\.gz", str(path.relative_to(out))
        )


def name_of(product: Path, codes: Path) -> str:
    """The input of a product that is called by a code, below the folder of all."""
    code = product.name.partition("_")[0]
    (path,) = json.loads(codes.read_text())["codes"][code]["files"]
    return "/".join(Path(path).parts[-2:])


@pytest.mark.full
def test_overnight_ct(tmp_path: Path) -> None:
    data, out, codes = volumes(tmp_path / "scans"), tmp_path / "out", tmp_path / "codes.json"
    again, env = ("--set", "limits.memory=2GiB"), {"OUT": str(out), "CODES": str(codes)}
    told = run("overnight_ct", *again, DATA=str(data), **env)
    assert (told["status"], told["complete"]) == (0, 4)
    made = {name_of(path, codes): nibabel.load(path) for path in out.glob("*/*.nii.gz")}
    ann, bob = (np.asanyarray(made[f"{name}/ct.nii.gz"].dataobj) for name in ("ann", "bob"))
    assert np.array_equal(ann, bob)
    assert made["bob/series"].shape == (24, 20, 6)
    told = run("overnight_ct", *again, DATA=str(data), **env)
    assert (told["complete"], told["resumed"]) == (4, 4)


@pytest.mark.full
def test_landcover(tmp_path: Path) -> None:
    data, out = scenes(tmp_path / "scenes"), tmp_path / "out"
    told = run("landcover", SCENES=str(data), OUT=str(out))
    assert (told["status"], told["complete"]) == (0, 2)
    with rasterio.open(out / "scene_0_labels.tif") as product:
        assert product.shape == (160, 200)
        assert set(np.unique(product.read(1))) <= {*range(1, 9), 255}


@pytest.mark.full
def test_country_map(tmp_path: Path) -> None:
    tiles, out = scenes(tmp_path / "tiles"), tmp_path / "out"
    with rasterio.open(tiles / "scene_0.tif") as scene:
        left, bottom, right, top = scene.bounds
        corners = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        area = transform_geom(scene.crs, "OGC:CRS84", {"type": "Polygon", "coordinates": [corners]})
    feature = {"type": "Feature", "properties": {"name": "first"}, "geometry": area}
    zones = tmp_path / "zones.geojson"
    zones.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    told = run("country_map", TILES=str(tiles), ZONES=str(zones), OUT=str(out))
    assert (told["status"], told["complete"]) == (0, 1)
    (table,) = out.glob("*_labels.csv")
    assert "\nfirst,1,water," in table.read_text()
    assert len(list((out / "tiles").glob("*_labels.tif"))) == 2
    assert list(out.glob("*_labels.gpkg"))


@pytest.mark.slow
def test_finetune(tmp_path: Path, data: Path) -> None:
    source, new = data / "msd_hippocampus", tmp_path / "new"
    cases = sorted(path.name for path in (source / "images").iterdir())
    for part in ("images", "labels"):
        (tmp_path / "labelled" / part).mkdir(parents=True)
        for name in cases[:6]:
            shutil.copy(source / part / name, tmp_path / "labelled" / part)
    new.mkdir()
    shutil.copy(source / "images" / cases[6], new)
    env = {"DATA": str(tmp_path / "labelled"), "NEW": str(new), "OUT": str(tmp_path / "out")}
    told = run("finetune", "--set", "steps.train.steps=4", **env)
    assert told["status"] == 0
    assert [one["status"] for one in told["steps"]] == ["complete"] * 4
    assert list((tmp_path / "out/labels").glob("*_labels.nii.gz"))
    again = run("finetune", "--set", "steps.train.steps=4", **env)
    assert [one["before"] for one in again["steps"]] == [True, True, True, False]
