"""Images on another grid than their model's: there and back, block by block, against the whole at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from affine import Affine

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation, SkipRule
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError, PlanError, StoppedError, StoreError
from seg_batch.core.geometry import Box, Grid
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.resample.resampler import Resampler
from seg_batch.core.taper import Taper
from seg_batch.inference.api.predict import predict
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.stitch import Counts, EmptyRule, Stitcher
from seg_batch.inference.verify import verify_product
from tests.support.files import address_raster, address_volume, write_raster, write_volume

CLASSES = tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in (2, 0, 9))
NUMBERS = Normalisation(kind="card", mean=(100.0,), std=(300.0,))


def crooked(patches: np.ndarray) -> np.ndarray:
    """A model that sees where in the patch it is."""
    place = sum((k + 1) * i for k, i in enumerate(np.indices(patches.shape[1:-1])))
    value = np.sin(patches[..., 0] * 2 + place / 9).astype(np.float32)
    return np.stack([0.5 + value / 3, 0.5 - value / 3, 0.4 + 0.3 * np.cos(5 * value)], -1)


def card(rank: int, **fields: Any) -> ModelCard:
    size = {"spacing_mm": (1.0, 1.0, 1.0)} if rank == 3 else {"pixel_m": 30.0}
    known = {
        "name": "crooked",
        "kind": "volume" if rank == 3 else "raster",
        "rank": rank,
        "channels": ("a",),
        "classes": CLASSES,
        "normalisation": NUMBERS,
        "patch": (12,) * rank if rank == 3 else (48, 40),
        "overlap": (5,) * rank if rank == 3 else (16, 12),
        "margin": (1,) * rank if rank == 3 else (2, 3),
    }
    return ModelCard(**{**known, **size, **fields})


def scan(folder: Path, sizes: tuple[float, ...] = (0.6, 1.0, 1.7)) -> Path:
    """Permuted and flipped, of unequal sizes."""
    affine = np.zeros((4, 4))
    affine[[1, 0, 2], [0, 1, 2]] = np.array(sizes) * (-1, 1, 1)
    affine[:, 3] = (4, -7, 9, 1)
    return write_volume(folder / "scan.nii.gz", address_volume((41, 33, 21)), affine)


def scene(folder: Path, side: float = 10, **profile: Any) -> Path:
    values = address_raster((150, 133), 1, "uint16")
    transform = Affine(side, 0, 301905, 0, -side, 4154085)
    return write_raster(folder / "scene.tif", values, transform=transform, **profile)


def labels(path: Path | str) -> np.ndarray:
    if str(path).endswith(".tif"):
        with rasterio.open(path) as file:
            return file.read(1)
    return np.asarray(nibabel.load(path).dataobj)


def by_hand(path: Path, model: ModelCard) -> np.ndarray:
    """The whole volume there and back at once, in the axes of the file."""
    stored = np.asarray(nibabel.load(path).dataobj)  # i, j, k: along y (backwards), x, z
    turned = stored[::-1].transpose(2, 0, 1)[..., None]  # z, y, x
    target = (36, 25, 33)
    there = Resampler(turned.shape[:3], target, ("cubic", "area", "cubic"))
    values, valid = there(turned, None, Box.whole(turned.shape[:3]), Box.whole(target))
    grid = Grid(target, model.patch, model.overlap, model.margin)
    stitcher = Stitcher(
        grid, Taper(grid), Normaliser(NUMBERS.mean, NUMBERS.std), crooked, 3, 3, 1, EmptyRule(0)
    )
    whole = Box.whole(target)
    rows = stitcher.sums(Pixels(values, valid), whole, whole, Counts())
    sums = np.concatenate([part.copy() for _, part in rows])
    back = Resampler(target, turned.shape[:3], ("linear",) * 3)
    sums, _ = back(sums, None, whole, Box.whole(turned.shape[:3]))
    found = np.array([2, 0, 9], np.uint8)[sums.argmax(-1)]
    return found.transpose(1, 2, 0)[::-1]


def test_a_volume_goes_there_and_back_as_a_whole_does(tmp_path: Path) -> None:
    path, model = scan(tmp_path), card(3)
    out = tmp_path / "out.nii.gz"
    report = predict(path, out, model=(model, crooked))
    grid = report["plan"]["model_grid"]
    assert (grid["source"], grid["target"]) == ((21, 41, 33), (36, 25, 33))
    assert np.array_equal(labels(out), by_hand(path, model))
    assert nibabel.load(out).shape == nibabel.load(path).shape
    assert np.allclose(nibabel.load(out).affine, nibabel.load(path).affine)
    assert report["review"] == []
    assert all(check["ok"] for check in verify_product(out)["checks"])


@pytest.mark.full
@pytest.mark.parametrize("kind", ["volume", "raster, finer", "raster, coarser"])
def test_any_blocks_and_workers_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("seg_batch.inference.costs.CHUNK", {2: 64, 3: 16})
    side = {"raster, finer": 10, "raster, coarser": 52}.get(kind, 0)
    path = scene(tmp_path, side) if side else scan(tmp_path)
    model = card(2 if side else 3)
    blocks = [None, (64, 64), (128, 64)] if side else [None, (16, 16, 16), (32, 16, 48)]
    ending = ".tif" if side else ".nii.gz"
    made = [
        predict(
            *(path, tmp_path / f"{n}{ending}"),
            model=(model, crooked),
            block=block,
            workers=1 + n % 2,
            probabilities=True,
            force=True,
        )
        for n, block in enumerate(blocks)
    ]
    assert len({report["blocks"]["total"] for report in made}) == 3
    assert len({report["product"]["sha256"] for report in made}) == 1
    assert len({report["probabilities"]["sha256"] for report in made}) == 1
    assert all(report["peak_rss_bytes"] <= report["promised_bytes"] for report in made)


def test_the_grid_of_the_model_is_that_of_an_image_resampled_before(tmp_path: Path) -> None:
    path, model, out = scan(tmp_path), card(3), tmp_path / "out.nii.gz"
    report = predict(path, out, model=(model, crooked), output_grid="model")
    assert report["plan"]["extent"] == (36, 25, 33)
    seen = nibabel.load(out)
    assert nibabel.aff2axcodes(seen.affine) == ("R", "A", "S")
    stored = np.asarray(nibabel.load(path).dataobj)
    turned = stored[::-1].transpose(2, 0, 1)[..., None]
    there = Resampler(turned.shape[:3], (36, 25, 33), ("cubic", "area", "cubic"))
    values, _ = there(turned, None, Box.whole(turned.shape[:3]), Box.whole((36, 25, 33)))
    ready = write_volume(tmp_path / "ready.nii", values[..., 0].transpose(2, 1, 0), seen.affine)
    predict(ready, tmp_path / "ready_out.nii.gz", model=(model, crooked))
    assert np.array_equal(labels(out), labels(tmp_path / "ready_out.nii.gz"))
    assert all(check["ok"] for check in verify_product(out)["checks"])


@pytest.mark.full
@pytest.mark.parametrize("side", [10, 52])
def test_nodata_and_skipped_voxels_are_those_of_the_file(tmp_path: Path, side: float) -> None:
    """Law 8, where what is empty on one grid is not on the other."""
    rule = SkipRule(below=9, label=9)
    path = scene(tmp_path, side)
    with rasterio.open(path, "r+") as file:
        values = file.read(1)
        values[:70, :60] = 5
        values[20:90, 30:110] = 999
        values[60, 40:50] = 200  # a line in the empty part
        file.nodata = 999
        file.write(values, 1)
    made = {}
    for name, skip in (("skip", rule), ("all", None)):
        out = tmp_path / f"{name}.tif"
        predict(path, out, model=(card(2, skip=skip), crooked), force=True)
        made[name] = labels(out)
    missing, low = values == 999, values <= 9
    for found in made.values():
        assert (found[missing] == 255).all()
        assert (found[~missing] != 255).all()
    assert (made["skip"][low] == 9).all()
    assert np.array_equal(made["skip"][~low], made["all"][~low])


def test_a_model_of_the_same_size_gives_the_bytes_of_before(tmp_path: Path) -> None:
    path, model = scan(tmp_path, (1.01, 0.99, 1)), card(3)
    reports = [
        predict(path, tmp_path / f"{n}.nii.gz", model=(model, crooked), resample=how)
        for n, how in enumerate(("auto", "never"))
    ]
    plans = [report["plan"] for report in reports]
    assert [plan["model_grid"] for plan in plans] == [None, None]
    assert plans[0]["fingerprint"] == plans[1]["fingerprint"]
    assert "model_grid" not in plans[0]["fingerprint"]
    assert len({report["product"]["sha256"] for report in reports}) == 1


def test_a_run_begun_on_another_grid_is_not_resumed(tmp_path: Path) -> None:
    path, out = scan(tmp_path), tmp_path / "out.nii.gz"

    def ask(**options: Any) -> Any:
        options = PredictOptions(**options, force=True)
        return predict_one(
            Request(str(path), str(out), (card(3), crooked), options, keep_store=True)
        )

    ask()
    out.unlink()
    (tmp_path / "out.nii.gz.json").unlink()
    with pytest.raises(StoreError, match="model_grid"):
        ask(resample="never")
    with pytest.raises(StoreError, match="model_grid"):
        ask(spacing=(1.3,))
    ask()


@pytest.mark.parametrize(
    ("side", "outcome"),
    [
        (10, "fits"),
        (3, "does not fit"),
        (60, "unusual"),
        (100, "does not fit"),
        (300, "does not fit"),
    ],
)
def test_what_resampling_can_make_up_for_fits(tmp_path: Path, side: float, outcome: str) -> None:
    request = Request(str(scene(tmp_path, side)), None, (card(2), crooked))
    if outcome == "does not fit":
        with pytest.raises(InputError, match="pixels of"):
            prepare(request)
        return
    assert prepare(request).verdict.outcome == outcome


def test_a_grid_beyond_all_memory_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="per worker"):
        predict(scan(tmp_path), model=(card(3), crooked), spacing=(0.005,), force=True)


@pytest.mark.full
@pytest.mark.parametrize("side", [0, 10])
def test_a_run_that_was_stopped_and_goes_on_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: float
) -> None:
    monkeypatch.setattr("seg_batch.inference.costs.CHUNK", {2: 64, 3: 16})
    path = scene(tmp_path, side) if side else scan(tmp_path)
    ending, model = (".tif", card(2)) if side else (".nii.gz", card(3))
    block = (64, 128) if side else (16, 32, 48)
    whole = predict(path, tmp_path / f"whole{ending}", model=(model, crooked))
    stop = Event()

    class Once(Callback):
        def on(self, event: events.Event) -> None:
            if isinstance(event, events.BlockEnded):
                stop.set()

    options = PredictOptions(block=block)
    request = Request(str(path), str(tmp_path / f"parts{ending}"), (model, crooked), options)
    with pytest.raises(StoppedError):
        predict_one(request, Once(), stop=stop)
    parts = predict_one(replace(request, options=PredictOptions(workers=2)))
    assert 0 < parts["blocks"]["resumed"] < parts["blocks"]["total"]
    assert parts["product"]["sha256"] == whole["product"]["sha256"]


@pytest.mark.parametrize(
    ("sizes", "outcome"),
    [((1, 1, 10), "fits"), ((0.7, 1, 0.1), "fits"), ((4, 4, 1), "does not fit")],
)
def test_a_flat_model_is_asked_of_the_plane_alone(
    tmp_path: Path, sizes: tuple[float, ...], outcome: str
) -> None:
    flat = {"rank": 2, "patch": (12, 12), "overlap": (4, 4), "margin": (1, 1)}
    model = card(3).model_copy(update=flat)
    path = write_volume(tmp_path / "s.nii", address_volume((30, 30, 5)), np.diag([*sizes, 1.0]))
    request = Request(str(path), None, (model, crooked))
    if outcome == "fits":
        assert prepare(request).verdict.outcome == "fits"
        return
    with pytest.raises(InputError, match="voxels of"):
        prepare(request)


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for other in ({"spacing": (2.0,)}, {"output_grid": "model"}):
        with pytest.raises(PlanError, match="contradict"):
            predict(scan(tmp_path), model=(card(3), crooked), resample="never", **other)
    with pytest.raises(InputError, match=r"--spacing"):
        predict(scene(tmp_path, 10), model=(card(2), crooked), spacing=(100,))
