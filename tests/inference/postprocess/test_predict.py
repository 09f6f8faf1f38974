"""The chain in whole predict commands: the same bytes whatever the blocks and workers, and after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from scipy import ndimage

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.postprocess import parse_chain
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PartialResultError, PlanError, SegbatchError, StoreError
from seg_batch.core.normalise import Normaliser
from seg_batch.inference import predict as verb
from seg_batch.inference.api.predict import predict
from seg_batch.inference.plan import Plan, adopt_stored
from seg_batch.inference.postprocess import run
from seg_batch.inference.postprocess.array_chain import run_chain
from seg_batch.inference.postprocess.label_context import LabelContext
from seg_batch.inference.predict import predict_one
from seg_batch.inference.probe import PROBE_CARD
from seg_batch.inference.request import Request, prepare
from seg_batch.io.sinks.work_store import WorkStore
from tests.support.files import segbatch, write_raster, write_volume
from tests.support.patience import Gate

CHAIN = ("majority:3", "min_size:12,residue 5=0.9ha", "largest:residue 3", "fill_holes")
STEPS = [word for step in CHAIN for word in ("--post", step)]


def patchy(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Residues 0..7 in patches of some voxels, few of some, from noise without any symmetry."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return (noise * 8).astype(np.uint8)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """1100 x 1300 pixels in 2 x 2 chunks; some have no data."""
    values = patchy((1100, 1300))
    values[500:520, 1010:1040] = 200
    return write_raster(tmp_path / "scene.tif", values[None], nodata=200)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", patchy((64, 64))[None])


def labels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def expected(scene: Path, chain: tuple[str, ...]) -> np.ndarray:
    """The chain on the whole map in memory."""
    with rasterio.open(scene) as file:
        values = file.read(1)
    labels = np.where(values == 200, 255, values % 8).astype(np.uint8)
    setting = LabelContext({c.name: c.id for c in PROBE_CARD.classes}, 0, 255, "ha", 0.09)
    run_chain(parse_chain(chain), labels, setting)
    return labels


@pytest.mark.full
def test_the_chain_gives_the_map_of_the_whole(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    options = PredictOptions(post=CHAIN, block=(1024, 1024))
    report = predict_one(Request(str(scene), str(out), model="probe", options=options))
    found, wanted = labels_of(out), expected(scene, CHAIN)
    np.testing.assert_array_equal(found, wanted)
    assert (found[500:520, 1010:1040] == 255).all()
    for row in report["classes"]:
        assert row["voxels"] == (wanted == row["id"]).sum()
        assert row["hectares"] == pytest.approx(row["voxels"] * 0.09)
    assert [row["words"].split()[0] for row in report["post"]] == [
        "majority",
        "minimum",
        "only",
        "holes",
    ]
    assert all(row["voxels_changed"] > 0 for row in report["post"])
    with rasterio.open(out) as file:
        assert "only the largest object of residue 3" in file.tags()["SEGBATCH_POST"]
    assert not Path(f"{out}.work.zarr").exists()


@pytest.mark.full
def test_the_same_bytes_for_any_blocks_and_workers(scene: Path, tmp_path: Path) -> None:
    options = {"model": "probe", "post": CHAIN}
    digests = {
        predict(scene, tmp_path / "0.tif", **options)["product"]["sha256"],
        predict(scene, tmp_path / "1.tif", **options, block=(1024, 1024))["product"]["sha256"],
    }
    more = ("--block", "1024,2048", "--workers", "2", "--cluster", "local")
    out = tmp_path / "2.tif"
    ran = segbatch("predict", scene, "-o", out, "--model", "probe", "--json", *STEPS, *more)
    assert ran.status == 0, ran.err
    assert digests == {ran.json["product"]["sha256"]}


@pytest.mark.full
def test_a_volume_in_its_own_axes_and_millilitres(tmp_path: Path) -> None:
    turn = np.array([[0, -1.5, 0], [0.9, 0, 0], [0, 0, -2.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn
    values = patchy((61, 150, 37)).astype(np.int16)
    path = write_volume(tmp_path / "volume.nii.gz", values, affine)
    out = tmp_path / "out.nii.gz"
    chain = ("min_size:0.1mL", "largest:residue 4", "fill_holes", "majority")
    predict(path, out, model="probe", post=chain)
    labels = (values.transpose(2, 1, 0) % 8).astype(np.uint8)
    setting = LabelContext({c.name: c.id for c in PROBE_CARD.classes}, 0, 255, "mL", 0.0027)
    run_chain(parse_chain(chain), labels, setting)
    found = np.asarray(nibabel.load(out).dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(found, labels)
    assert (found != values.transpose(2, 1, 0) % 8).any()


def soft(patches: np.ndarray) -> np.ndarray:
    """Three classes from the first channel, with probabilities of 0.2 and 0.35 among them."""
    value = patches[..., :1].astype(np.float32) % 10
    liver = np.where(value < 4, 0.35, 0.1)
    spleen = np.where(value > 6, 0.2, 0.05)
    return np.concatenate([1 - liver - spleen, liver, spleen], -1).astype(np.float32)


def card(**more: Any) -> ModelCard:
    names = ("none", "liver", "spleen")
    return ModelCard(
        name="soft",
        kind="raster",
        classes=[ClassInfo(id=k, name=n, colour=(k, k, k)) for k, n in enumerate(names)],
        normalisation=Normalisation(kind="identity"),
        patch=(64, 64),
        overlap=(16, 16),
        **more,
    )


@pytest.mark.full
def test_thresholds_need_probabilities_that_nobody_asked_to_keep(
    scene: Path, tmp_path: Path
) -> None:
    chain = [{"step": "threshold", "classes": {"liver": 0.3, "spleen": 0.15}}]
    out = tmp_path / "out.tif"
    predict(scene, out, model=(card(post=chain), soft), keep_store=True)
    with rasterio.open(scene) as file:
        values = file.read(1)
    wanted = np.select([values == 200, values % 10 < 4, values % 10 > 6], [255, 1, 2], 0)
    np.testing.assert_array_equal(labels_of(out), wanted)
    assert not (tmp_path / "out_probabilities.tif").exists()
    report = json.loads(Path(f"{out}.json").read_text())
    assert report["probabilities"] is None
    assert WorkStore.open(Path(f"{out}.work.zarr")).spec.probabilities


@pytest.mark.full
def test_none_switches_the_chain_of_the_card_off(scene: Path, tmp_path: Path) -> None:
    chain = [{"step": "threshold", "classes": {"liver": 0.3}}]
    report = predict(scene, tmp_path / "a.tif", model=(card(post=chain), soft), post=("none",))
    assert report["post"] == []
    assert set(report["product"]["counts"]) == {"0", "255"}


@pytest.mark.full
def test_a_zarr_product_holds_the_last_map_only(scene: Path, tmp_path: Path) -> None:
    import zarr

    chain = ("threshold:liver=0.3", "majority:3")
    out = tmp_path / "out.zarr"
    report = predict(scene, out, model=(card(), soft), post=chain)
    group = zarr.open_group(out, mode="r")
    assert sorted(group.array_keys()) == ["class", "class_name", "labels", "spatial_ref", "x", "y"]
    values, counts = np.unique(group["labels"][:], return_counts=True)
    assert dict(zip(map(str, values), counts.tolist(), strict=True)) == report["product"]["counts"]
    assert "1" in report["product"]["counts"]
    assert segbatch("verify", out).status == 0


# What is in the way of a run, and what it is told of in one line.
BAD = {
    "majorty:3": "did you mean majority?",
    "majority:4": "has no centre",
    "largest:residue 9": "did you mean residue",
    "min_size:2mL": "millilitres are for volumes",
    "min_size:-5": "is no size",
    "min_size:residue 0=5": "is the background",
    "threshold:residue 1=1.5": "less than or equal to 1",
    "threshold:residue 1=0.5,residue 1=0.6": "is there twice",
    "crf:iteration=5": "did you mean iterations?",
    "fill_holes:a=b": "takes names of classes",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_chain_is_refused_before_any_work(text: str, small: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refused:
        predict(small, tmp_path / "out.tif", model="probe", post=(text,))
    assert BAD[text] in refused.value.message
    assert "\n" not in refused.value.message
    assert list(tmp_path.iterdir()) == [small]


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (("majority:3", "threshold:residue 1=0.5"), "put it first"),
        (("none", "majority:3"), "stands alone"),
    ],
)
def test_a_chain_in_the_wrong_order_is_refused(
    chain: tuple[str, ...], why: str, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=why):
        predict(small, tmp_path / "out.tif", model="probe", post=chain)


@pytest.mark.parametrize("crs", [None, "EPSG:4326"], ids=["no CRS", "metres called degrees"])
def test_hectares_need_a_place(crs: str | None, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "nowhere.tif", patchy((64, 64))[None], crs=crs)
    with pytest.raises(PlanError, match="hectares need a raster with a metric CRS, or one in deg"):
        predict(path, tmp_path / "out.tif", model="probe", post=("min_size:0.5ha",))


@pytest.mark.full
def test_on_the_command_line_it_is_one_line_and_status_2(small: Path, tmp_path: Path) -> None:
    ran = segbatch(
        "predict", small, "-o", tmp_path / "o.tif", "--model", "probe", "--post", "larges"
    )
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "did you mean largest?" in ran.err
    assert not (tmp_path / "o.tif.work.zarr").exists()


def test_a_resumed_plan_promises_what_its_own_chain_needs(scene: Path) -> None:
    """Many threads of a field take more than the prediction that it begins with."""

    def planned(*chain: str) -> Plan:
        options = PredictOptions(probabilities=True, post=chain, block=(1024, 1024))
        draft = prepare(Request(str(scene), model="probe", options=options)).plan
        return draft.with_normaliser(Normaliser())

    before, now = planned(), planned("crf")
    assert now.promised_bytes > before.promised_bytes
    kept = adopt_stored(now, before)
    assert kept.promised_bytes >= now.promised_bytes
    assert kept.disk_bytes >= now.disk_bytes
    with pytest.raises(PlanError, match="need"):
        adopt_stored(replace(now, memory_bytes=before.promised_bytes), before)


@pytest.mark.full
def test_another_chain_takes_over_the_predictions(scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"

    def run(*chain: str, overwrite: bool = False) -> dict[str, Any]:
        return predict(
            scene,
            out,
            model="probe",
            post=chain,
            overwrite=overwrite,
            keep_store=True,
            block=(1024, 1024),
        )

    run("majority:3")
    with pytest.raises(StoreError, match=r"post: majority of 3 voxels a side became minimum size"):
        run("min_size:9")
    report = run("min_size:9", overwrite=True)
    assert report["blocks"]["resumed"] == 4, "nothing is predicted again"
    np.testing.assert_array_equal(labels_of(out), expected(scene, ("min_size:9",)))


@pytest.mark.full
def test_a_step_that_is_done_is_not_done_again(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, seen = tmp_path / "out.tif", run.run_step, []

    def failing(step: Any, *rest: Any) -> Any:
        seen.append(step.step)
        if len(seen) == 3:
            raise SegbatchError("the disk is gone")
        return real(step, *rest)

    monkeypatch.setattr(run, "run_step", failing)
    with pytest.raises(SegbatchError, match="the disk is gone"):
        predict(scene, out, model="probe", post=CHAIN)
    assert not out.exists()
    report = predict(scene, out, model="probe", post=CHAIN)
    assert seen == ["majority", "min_size", "largest", "largest", "fill_holes"]
    np.testing.assert_array_equal(labels_of(out), expected(scene, CHAIN))
    assert len(report["post"]) == 4


@pytest.mark.full
def test_a_failed_block_stays_a_hole_until_it_is_done(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out.tif", verb.run_block
    options: dict[str, Any] = {"model": "probe", "post": CHAIN, "block": (1024, 1024)}

    def failing(job: Any, block: Any) -> Any:
        if block.name == "0.1":
            raise RuntimeError("no memory")
        return real(job, block)

    monkeypatch.setattr(verb, "run_block", failing)
    with pytest.raises(PartialResultError, match="1 of 4 blocks failed"):
        predict(scene, out, **options)
    assert (labels_of(out)[:1024, 1024:] == 255).all()
    assert (labels_of(out)[1030:] != 255).all()
    monkeypatch.setattr(verb, "run_block", real)
    assert predict(scene, out, **options)["blocks"]["resumed"] == 3
    np.testing.assert_array_equal(labels_of(out), expected(scene, CHAIN))


@pytest.mark.full
def test_killed_in_a_step_it_goes_on(scene: Path, tmp_path: Path) -> None:
    clean, out = tmp_path / "clean.tif", tmp_path / "out.tif"
    predict(scene, clean, model="probe", post=CHAIN)
    command = [sys.executable, "-m", "seg_batch", "predict", str(scene), "--model", "probe", *STEPS]
    maps = Path(f"{out}.work.zarr")
    gate = Gate(tmp_path, f"{maps}/done/steps.json", after=1)
    with subprocess.Popen(
        [*command, "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **gate.environment},
    ) as process:
        gate.wait(process)  # the second step is made, and nobody knows of it yet
        process.kill()
    assert not out.exists()
    assert len(json.loads((maps / "done" / "steps.json").read_text())["steps"]) >= 1
    predict(scene, out, model="probe", post=CHAIN)
    assert out.read_bytes() == clean.read_bytes()
    assert not maps.exists()
