"""A model that sees the box around what is not 0, and the rest of the image as background."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from seg_batch.cli.display.lines import plan_lines, summary_lines
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation, SkipRule
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import BundleError, InputError, StoppedError
from seg_batch.core.geometry import Box
from seg_batch.evaluation.predict_region import predict_blocks
from seg_batch.evaluation.view_region import whole_region
from seg_batch.inference.api.predict import predict
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.before_grid.crop import nonzero_box
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import open_view
from tests.support.files import address_volume, write_raster, write_volume

pytestmark = pytest.mark.full  # many networks or whole runs

CLASSES = tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in (2, 0, 9))
WHERE = Box((9, 4, 6), (27, 30, 15))  # i, j, k of what is not 0
OUTSIDE = [0, 1, 0]  # probabilities


def crooked(patches: np.ndarray) -> np.ndarray:
    """A model that sees where in the patch it is."""
    place = sum((k + 1) * i for k, i in enumerate(np.indices(patches.shape[1:-1])))
    value = np.sin(patches[..., 0] * 2 + place / 9).astype(np.float32)
    return np.stack([0.5 + value / 3, 0.5 - value / 3, 0.4 + 0.3 * np.cos(5 * value)], -1)


def finer(patches: np.ndarray) -> np.ndarray:
    return crooked(patches.repeat(2, 1).repeat(2, 2))


def card(rank: int = 3, crop: str = "nonzero", **fields: Any) -> ModelCard:
    known = {
        "name": "crooked",
        "kind": "any",
        "rank": rank,
        "channels": ("a",),
        "classes": CLASSES,
        "normalisation": Normalisation(kind="source"),
        "patch": (8, 12, 12)[-rank:],
        "overlap": (4, 5, 5)[-rank:],
        "crop": crop,
    }
    return ModelCard(**{**known, **fields})


def values(shape: tuple[int, int, int] = (41, 33, 21)) -> np.ndarray:
    """``(i, j, k)``, 0 outside of ``WHERE``."""
    out, inside = np.zeros(shape, np.int16), WHERE.slices()
    out[inside] = address_volume(shape)[inside] + 500
    return out


def affine(*sizes: float) -> np.ndarray:
    """Permuted and flipped."""
    out = np.zeros((4, 4))
    out[[1, 0, 2], [0, 1, 2]] = np.array(sizes) * (-1, 1, 1)
    out[:, 3] = (4, -7, 9, 1)
    return out


def scan(folder: Path, sizes: tuple[float, ...] = (1, 1, 1)) -> Path:
    return write_volume(folder / "scan.nii.gz", values(), affine(*sizes))


def labels(path: Path | str) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize(
    ("sizes", "fields"),
    [
        ((1, 1, 1), {}),
        ((0.6, 1, 1.7), {"spacing_mm": (1.0, 1.0, 1.0)}),
        pytest.param(
            *((1, 1, 1), {"finer": 2, "rank": 2, "patch": (12, 12), "overlap": (4, 4)}),
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_crop_is_seen_as_a_file_of_its_own(
    tmp_path: Path, sizes: tuple[float, ...], fields: dict[str, Any]
) -> None:
    alone = write_volume(tmp_path / "alone.nii", values()[WHERE.slices()], affine(*sizes))
    model = finer if "finer" in fields else crooked
    predict(alone, tmp_path / "a.nii", model=(card(crop="none", **fields), model))
    out = tmp_path / "o.nii"
    report = predict(scan(tmp_path, sizes), out, model=(card(**fields), model))
    found, part = labels(out), labels(tmp_path / "a.nii")
    times = tuple(n // m for n, m in zip(found.shape, values().shape, strict=True))
    inner = Box(*(tuple(map(int.__mul__, e, times)) for e in (WHERE.start, WHERE.stop))).slices()
    assert np.array_equal(found[inner], part)
    assert np.unique(part).size == 3
    found[inner] = 0
    assert not found.any()
    assert all(check["ok"] for check in verify_product(out)["checks"])
    assert report["peak_rss_bytes"] <= report["promised_bytes"]
    assert "to 9 x 18 x 26 of 21 x 41 x 33 voxels" in summary_lines(report)


def test_an_image_of_zeros_is_background(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "z.nii", np.zeros((30, 20, 9), np.float32), np.eye(4))
    out = tmp_path / "o.zarr"

    def never(patches: np.ndarray) -> np.ndarray:
        raise AssertionError("nothing is there to see")

    for fields in ({}, {"spacing_mm": (2.0, 2.0, 2.0)}):
        model = card(**fields), never
        prepared = prepare(Request(str(path), str(out), model))
        assert "to nothing, since all is 0; the rest is background" in plan_lines(prepared)
        report = predict(path, out, model=model, probabilities=True, overwrite=True)
        assert report["recompute"] == 0
        assert report["review"][0].startswith("unusual: a is 0 everywhere")
        assert report["product"]["counts"] == {"0": 30 * 20 * 9}


def test_what_lies_outside_is_surely_background_and_not_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_batch.inference.costs.CHUNK", {2: 64, 3: 16})
    seen: list[np.ndarray] = []

    def keeps(patches: np.ndarray) -> np.ndarray:
        seen.extend(patches.copy())
        return crooked(patches)

    out = tmp_path / "o.nii"
    model = card(normalisation=Normalisation(kind="identity")), keeps
    report = predict(scan(tmp_path), out, model=model, probabilities=True, block=(16, 16, 16))
    assert report["blocks"]["total"] == 2 * 3 * 3
    assert len(seen) == round(report["n_tiles"] * report["recompute"]) > 0
    assert all((patch != 0).all() for patch in seen)
    kept = np.asarray(nibabel.load(report["probabilities"]["path"]).dataobj)
    kept = kept.reshape(*kept.shape[:3], -1)
    outside = np.ones(kept.shape[:3], bool)
    outside[WHERE.slices()] = False
    assert np.allclose(kept[outside], OUTSIDE)


def test_nodata_stays_nodata(tmp_path: Path) -> None:
    image = np.zeros((1, 90, 70), np.int16)
    image[0, 20:60, 30:50] = address_volume((40, 20, 1))[..., 0] + 400
    image[0, 5:8, 5:9] = image[0, 30:33, 33:38] = -99
    path = write_raster(tmp_path / "s.tif", image, nodata=-99)
    predict(path, tmp_path / "o.tif", model=(card(2), crooked))
    with rasterio.open(tmp_path / "o.tif") as file:
        found = file.read(1)
    missing, empty = image[0] == -99, image[0] == 0
    assert (found[missing] == 255).all()
    assert (found[empty & ~missing] == 0).all()
    assert set(np.unique(found[~missing & ~empty])) == {0, 2, 9}


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_batch.inference.costs.CHUNK", {2: 64, 3: 16})
    path, model = scan(tmp_path), (card(), crooked)
    whole = predict(path, tmp_path / "whole.nii.gz", model=model)
    stop = Event()

    class Once(Callback):
        def on(self, event: events.Event) -> None:
            if isinstance(event, events.BlockEnded):
                stop.set()

    options = PredictOptions(block=(16, 16, 16))
    request = Request(str(path), str(tmp_path / "parts.nii.gz"), model, options)
    with pytest.raises(StoppedError):
        predict_one(request, Once(), stop=stop)
    parts = predict_one(replace(request, options=PredictOptions()))
    assert 0 < parts["blocks"]["resumed"] < parts["blocks"]["total"]
    assert parts["product"]["sha256"] == whole["product"]["sha256"]


def test_a_model_is_scored_on_what_it_would_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_batch.evaluation.predict_region.BLOCK", {2: 16, 3: 8})
    path, model = scan(tmp_path, (0.6, 1, 1.7)), card(spacing_mm=(1.0, 1.0, 1.0))
    predict(path, tmp_path / "o.nii", model=(model, crooked))
    spec = ImageSpec((str(path),), grid=GridOptions(), crop="find")
    with open_view(spec, model) as view:
        region: Any = whole_region(view, model)
        found = np.empty(view.info.extent, np.uint8)
        for box, classes in predict_blocks(region, model, crooked):
            found[box.slices()] = np.array([2, 0, 9])[classes]
        assert np.array_equal(view.from_view(found).transpose(2, 1, 0), labels(tmp_path / "o.nii"))


@pytest.mark.parametrize("seed", range(4))
def test_the_box_is_that_of_numpy_for_any_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("seg_batch.io.sources.iterate._slab", lambda info, most: (2, 3, 4))
    noise = np.random.default_rng(seed)
    data = (noise.random((5, 8, 9)) > 0.985) * noise.normal(size=(5, 8, 9)).astype(np.float32)
    data[noise.random(data.shape) > 0.9] = np.nan  # no data, so nothing to see
    path = write_volume(tmp_path / "s.nii", data.transpose(2, 1, 0), np.eye(4))
    places = np.argwhere(np.nan_to_num(data))
    box = nonzero_box(open_source(path))
    if len(places):
        assert box == Box(tuple(places.min(0)), tuple(places.max(0) + 1))
    else:
        assert box.size == 0


def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    model = card(spacing_mm=(2.0, 2.0, 2.0)), crooked
    with pytest.raises(InputError, match="leave out --output-grid model"):
        predict(scan(tmp_path), tmp_path / "o.nii", model=model, output_grid="model")
    with pytest.raises(BundleError, match="for its crop"):
        predict(scan(tmp_path), model=[(card(), crooked), (card(crop="none"), lambda p: p)])
    with pytest.raises(ValidationError, match="crop needs a background"):
        card(background=None)
    with pytest.raises(ValidationError, match="drop it, or crop"):
        card(skip=SkipRule(below=1))
