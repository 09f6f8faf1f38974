"""The look before the work, by the commands: refused, forced, to review, chosen."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.batch.report.write import write as write_reports
from seg_batch.config.workflow import read
from seg_batch.core.errors import BundleError, InputError
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.bundles import find_bundle
from seg_batch.inference.request import Request, prepare
from tests.support.batch.nights import run_night
from tests.support.files import write_raster, write_volume

SCENE = SAMPLES / "zion_landsat8.tif"
HEAD = SAMPLES / "hippocampus_001.nii.gz"


@pytest.fixture
def reflectance(tmp_path: Path) -> Path:
    with rasterio.open(SCENE) as scene:
        values = scene.read(window=((0, 120), (0, 110))) * np.float32(2e-5) - np.float32(0.1)
    return write_raster(tmp_path / "reflectance.tif", values)


@pytest.fixture
def collared(tmp_path: Path) -> Path:
    with rasterio.open(SCENE) as scene:
        values = scene.read(window=((0, 120), (0, 110)))
    values[:, :9] = 0
    return write_raster(tmp_path / "collared.tif", values, photometric="minisblack")


def test_the_packaged_samples_fit_and_choose_their_models() -> None:
    for sample, name in ((SCENE, "landsat8-landcover"), (HEAD, "hippocampus-mri")):
        prepared = prepare(Request(str(sample)))
        assert (prepared.model.card.name, prepared.verdict.findings) == (name, ())


def test_an_unfit_input_is_refused_before_anything_is_written(reflectance: Path) -> None:
    with pytest.raises(
        InputError, match=r"^[^\n]*does not fit landsat8[^\n]*--scale 50000[^\n]*--force"
    ):
        seg_batch.predict(reflectance, reflectance.parent / "o.tif", model="landsat8-landcover")
    with pytest.raises(BundleError, match="no installed model fits"):
        seg_batch.predict(reflectance, reflectance.parent / "o.tif")
    assert [*reflectance.parent.iterdir()] == [reflectance]


def all_forest(patches: np.ndarray) -> np.ndarray:
    """Class 4 of 8, everywhere."""
    return np.broadcast_to(np.eye(8, dtype=np.float32)[3], (*patches.shape[:-1], 8))


def test_a_forced_product_says_so(reflectance: Path) -> None:
    product = reflectance.parent / "o.tif"
    model = (find_bundle("landsat8-landcover").card, all_forest)
    with pytest.raises(InputError, match="does not fit"):
        seg_batch.predict(reflectance, product, model=model)
    report = seg_batch.predict(reflectance, product, model=model, force=True)
    assert report["fit"]["outcome"] == "does not fit"
    assert report["review"][0].startswith("does not fit: blue lies between")
    assert report["review"][-1].startswith("all of it is forest, in training at most 41")
    with rasterio.open(product) as dataset:
        assert dataset.tags()["SEGBATCH_FIT"].startswith("does not fit: blue lies")


@pytest.mark.full
def test_a_run_goes_on_and_lists_what_is_to_review(
    reflectance: Path, collared: Path, tmp_path: Path
) -> None:
    flow = tmp_path / "night.yaml"
    flow.write_text(f"model: landsat8-landcover\ninputs: {tmp_path}\noutputs: {tmp_path}/out\n")
    workflow = read(str(flow))
    status = run_night(workflow)["status"]
    write_reports(folder := Path(workflow.run_folder))
    rows = {
        Path(row["input"]).name: row
        for row in json.loads((folder / "report.json").read_text())["inputs"]
    }
    assert status == 3
    assert rows["reflectance.tif"]["status"] == "refused"
    assert "--scale 50000" in rows["reflectance.tif"]["error"]
    assert rows["collared.tif"]["status"] == "complete"
    assert rows["collared.tif"]["review"][0].startswith("unusual: 0 fills")
    xml = ElementTree.parse(folder / "report.xml")
    assert "to review: unusual: 0 fills" in "".join(xml.getroot().itertext())
    assert "To review" in (folder / "report.html").read_text()


def test_a_sample_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", np.ones((4, 300, 300), "uint16"), photometric="minisblack"
    )
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes(len(content) - 2000) + content[-1000:])
    with pytest.raises(InputError) as raised:
        prepare(Request(str(path), model="landsat8-landcover"))
    assert "\n" not in raised.value.message


def test_constant_volumes_are_refused(tmp_path: Path) -> None:
    for value, words in ((np.nan, "no values but NaN"), (7, "7 everywhere")):
        values = np.full((36, 50, 36), value, np.float32)
        path = write_volume(tmp_path / "v.nii.gz", values, np.eye(4))
        with pytest.raises(InputError, match=words):
            prepare(Request(str(path), model="hippocampus-mri"))
