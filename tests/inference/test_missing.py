"""Missing channels: one is enough for no label, or all must be missing, as the card says; everywhere alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import seg_batch
from seg_batch.config.card import ClassInfo, Missing, ModelCard, Normalisation
from seg_batch.core.geometry import Box, Grid
from seg_batch.core.normalise import Normaliser, Pixels
from seg_batch.core.taper import Taper
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.plan import Plan
from seg_batch.inference.probe import PROBE_CARD
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.block import predict_block
from seg_batch.inference.sliding_window.stitch import EmptyRule, Stitcher
from seg_batch.io.sources.views.open_view import Seen

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
GRID = Grid((20, 16), (6, 6), (2, 2), (0, 0))
HALF = np.zeros((40, 30), bool)
HALF[:, :12] = True  # where the second channel is missing
VALUES = np.random.default_rng(8).integers(1, 100, (2, 40, 30)).astype("int16")
TRUTH = (VALUES[1] > VALUES[0]).astype("uint8")


def card(missing: Missing, **changed: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "t",
        "kind": "raster",
        "rank": 2,
        "patch": (12, 12),
        "overlap": (4, 4),
        "channels": ("a", "b"),
        "missing": missing,
        "classes": tuple(ClassInfo(id=k, name=f"k{k}", colour=(k, k, k)) for k in range(2)),
        "normalisation": Normalisation(kind="identity"),
    }
    return ModelCard(**{**fields, **changed})


def greater(patches: np.ndarray) -> np.ndarray:
    return np.eye(2, dtype="f4")[(patches[..., 1] > patches[..., 0]).astype(int)]


def scene(path: Path, values: np.ndarray, **more: Any) -> Path:
    size: Any = {"driver": "GTiff", "height": 40, "width": 30, "count": len(values)}
    with rasterio.open(path, "w", **size, dtype=values.dtype, **more) as file:
        file.write(values)
    return path


@given(st.integers(0, 99), st.sampled_from(["any", "all"]), st.sampled_from([0.5, 0.95, 0.02]))
def test_what_is_skipped_and_what_is_labelled_go_by_one_rule(
    seed: int, missing: str, share: float
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((*GRID.extent, 2)).astype("f4")
    valid = rng.random((*GRID.extent, 2)) < share
    valid[:10] = [True, False]  # tiles with no voxel of which both are there
    empty = EmptyRule(9, missing=missing)
    stitcher = Stitcher(GRID, Taper(GRID), Normaliser(), greater, 2, 2, 3, empty)
    box = Box.whole(GRID.extent)
    result = predict_block(
        stitcher,
        lambda window, box: Seen(*(Pixels(values, valid)[b.slices()] for b in (window, box)), []),
        box,
        np.arange(2, dtype="u1"),
    )
    gone = ~(valid.all(-1) if missing == "any" else valid.any(-1))
    seen = np.where(valid, values, 0)
    expected = np.where(gone, 9, seen[..., 1] > seen[..., 0])
    np.testing.assert_array_equal(result.labels, expected)
    assert (result.skipped > 0) >= (missing == "any")


@pytest.mark.parametrize("missing", ["any", "all"])
def test_a_scene_with_half_a_channel_missing(tmp_path: Path, missing: Missing) -> None:
    values = VALUES.copy()
    values[1][HALF] = -1
    out = tmp_path / "o.tif"
    report = seg_batch.predict(
        scene(tmp_path / "s.tif", values, nodata=-1), out, model=(card(missing), greater)
    )
    with rasterio.open(out) as file:
        labels = file.read(1)
    np.testing.assert_array_equal(labels == 255, HALF if missing == "any" else False)
    np.testing.assert_array_equal(labels[~HALF], TRUTH[~HALF])
    assert report["unclassified_voxels"] == (HALF.sum() if missing == "any" else 0)


@pytest.mark.parametrize("missing", ["any", "all"])
def test_what_has_no_label_is_not_scored(tmp_path: Path, missing: Missing) -> None:
    values = VALUES.copy()
    values[1][HALF] = -1
    image = scene(tmp_path / "s.tif", values, nodata=-1)
    label = scene(tmp_path / "l.tif", TRUTH[None])
    result = evaluate_bundle(
        (card(missing), greater), f"{image}={label}", output=tmp_path / "e", split="all"
    )
    accuracy = result["scores"]["overall"]["accuracy"]["mean"]
    assert (accuracy == 1) == (missing == "any")


def test_a_volume_gets_background_where_a_file_of_its_stack_is_nan(tmp_path: Path) -> None:
    shape = (4, 6, 5)
    first, second = np.ones(shape, "f4"), 2 * np.ones(shape, "f4")
    first[0, 0, 0], second[:, :, 0], second[1, 1, 1] = 0.5, np.nan, 2.5
    paths = []
    for name, values in (("a", first), ("b", second)):
        paths.append(str(tmp_path / f"{name}.nii"))
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), paths[-1])
    for missing, expected in (("any", 0), ("all", 1)):
        model = card(missing, kind="volume", rank=3, patch=(4, 4, 4), overlap=(0, 0, 0))
        function = (
            greater
            if missing == "any"
            else lambda p: np.eye(2, dtype="f4")[np.ones(p.shape[:-1], int)]
        )
        out = tmp_path / f"{missing}.nii.gz"
        seg_batch.predict(paths, out, model=(model, function))
        labels = np.asarray(nibabel.load(out).dataobj)
        assert (labels[:, :, 1:] == 1).all()
        assert (labels[:, :, 0] == expected).all()


def test_the_rule_is_in_the_fingerprint_where_it_can_matter(tmp_path: Path) -> None:
    two, one = scene(tmp_path / "2.tif", VALUES), scene(tmp_path / "1.tif", VALUES[:1])

    def plan(path: Path, model: Any) -> Plan:
        return prepare(Request(str(path), model=model)).plan.with_normaliser(Normaliser())

    alone = card("any", channels=("a",))
    assert plan(two, (card("any"), greater)).fingerprint["missing"] == "any"
    for path, model in ((two, (card("all"), greater)), (one, (alone, greater)), (two, "probe")):
        assert plan(path, model).missing == "all"
        assert "missing" not in plan(path, model).fingerprint
    assert PROBE_CARD.missing == "all"
    earlier = plan(two, (card("any"), greater)).to_json()
    del earlier["missing"]
    assert Plan.from_json(earlier).missing == "all"
