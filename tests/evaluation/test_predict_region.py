"""Scored labels are those that predict writes, whatever the blocks of either, and what is empty."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_batch.config.card import ModelCard, SkipRule
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PartialResultError, ReadError
from seg_batch.core.geometry import Box, Shape
from seg_batch.evaluation import predict_region
from seg_batch.evaluation.held_out_cases import collect_cases
from seg_batch.evaluation.predict_region import BlockStats, predict_blocks
from seg_batch.evaluation.view_region import SourceRegion
from seg_batch.inference import costs
from seg_batch.inference.api.predict import predict
from tests.support.evaluation.label_files import CARD, IDS
from tests.support.files import address_raster, address_volume, damaged, write_raster, write_volume
from tests.support.strategies import boxes

CHUNK = {2: 32, 3: 16}  # so that small images have several blocks
LOW, SKIPPED = 60.0, 7
TURNED = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, -3.0, 9], [0, 0, 0, 1]])


def crooked(patches: np.ndarray) -> np.ndarray:
    """A predictor that sees where in the patch it is: three classes, which sum to one."""
    places = np.indices(patches.shape[1:-1]).astype(np.float32)
    ramp = sum((k + 1) * p / p.size**0.5 for k, p in enumerate(places))
    value = patches[..., 0].astype(np.float32)
    found = np.exp(
        np.stack([np.sin(value + ramp), np.cos(value * ramp), np.sin(3 * ramp - value)], -1)
    )
    return (found / found.sum(-1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """An image with an empty box and one of low values, the blocks of predict and of scoring."""

    extent: Shape
    nothing: Box
    low: Box
    skips: bool
    block: Shape
    side: int

    @property
    def values(self) -> np.ndarray:
        """float32, axes as in the file; NaN where no data is."""
        flat = len(self.extent) == 2
        values = address_raster(self.extent, 1, "int16")[0] if flat else address_volume(self.extent)
        values = (values % 200 + 61).astype(np.float32)
        values[self.low.slices()] = LOW - 1
        values[self.nothing.slices()] = np.nan
        return values

    @property
    def card(self) -> ModelCard:
        rank = len(self.extent)
        skip = SkipRule(below=LOW, label=SKIPPED) if self.skips else None
        sides: dict[str, Any] = {"patch": (12,) * rank, "overlap": (4,) * rank, "rank": rank}
        kind = "raster" if rank == 2 else "volume"
        return CARD.model_copy(update={**sides, "kind": kind, "skip": skip})

    def write(self, folder: Path) -> tuple[Path, Path]:
        """``(image, label)``; the truth has the first class everywhere."""
        truth = np.full(self.extent, IDS[0], np.uint8)
        if len(self.extent) == 2:
            image = write_raster(folder / "image.tif", self.values[None], nodata=np.nan)
            return image, write_raster(folder / "label.tif", truth[None])
        image = write_volume(folder / "image.nii", self.values, TURNED)
        return image, write_volume(folder / "label.nii", truth, TURNED)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rank = draw(st.sampled_from([2, 2, 3]))
    longest = 70 if rank == 2 else 24
    extent = tuple(draw(st.integers(5, longest)) for _ in range(rank))
    return Case(
        extent,
        draw(boxes(extent)),
        draw(boxes(extent)),
        draw(st.booleans()),
        tuple(CHUNK[rank] * draw(st.integers(1, 3)) for _ in range(rank)),
        draw(st.integers(7, 80)),
    )


def compare(case: Case, folder: Path) -> tuple[dict[str, Any], BlockStats]:
    """The report of predict and what scoring watched, whose labels and probabilities are equal."""
    image, label = case.write(folder)
    model: Any = (case.card, crooked)
    out, watch = folder / "out.zarr", BlockStats()
    report = predict(image, out, model=model, probabilities=True, block=case.block)
    made = zarr.open_group(out, mode="r")
    found = collect_cases(Path(f"{image}={label}"), "all", case.card, PredictOptions(), ())
    with found.open(found.cases[0]) as (region, _):
        assert isinstance(region, SourceRegion)
        scored = np.full(region.box.shape, 99, np.uint8)
        kept = np.full((len(IDS), *region.box.shape), 99, np.uint8)
        steps = predict_blocks(region, case.card, crooked, stats=watch, keep=kept)
        for box, classes in steps:
            scored[box.slices()] = classes
        native = region.image.from_view(scored)
        shares = region.image.from_view(np.moveaxis(kept, 0, -1))
    some = ~np.isnan(case.values if native.ndim == 2 else case.values.T)  # z, y, x in sources
    assert np.array_equal(made["labels"][:][some], IDS[native[some]])
    assert (made["labels"][:][~some] == report["plan"]["empty_label"]).all()
    assert (native[~some] == predict_region.NOWHERE).all()
    assert np.array_equal(np.moveaxis(made["probabilities"][:], 0, -1), shares)
    return report, watch


@pytest.mark.full
@settings(max_examples=20)
@given(cases())
def test_what_is_scored_is_what_predict_writes(case: Case) -> None:
    sides = patch.dict(predict_region.BLOCK, dict.fromkeys((2, 3), case.side))
    with tempfile.TemporaryDirectory() as folder, patch.dict(costs.CHUNK, CHUNK), sides:
        compare(case, Path(folder))


def known(skips: bool, block: Shape) -> Case:
    """Of its blocks of 32 x 32 some hold nothing, nor do their windows."""
    nothing, low = Box((0, 40), (70, 90)), Box((45, 0), (70, 90))
    return Case((70, 130), nothing, low, skips, block, block[0])


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("block", [(32, 32), (160, 160)])
def test_blocks_of_nothing_are_scored_as_they_are_written(
    tmp_path: Path, skips: bool, block: Shape
) -> None:
    sides = patch.dict(predict_region.BLOCK, {2: block[0]})
    with patch.dict(costs.CHUNK, CHUNK), sides:
        report, watch = compare(known(skips, block), tmp_path)
    assert watch.seams is not None
    names = [c.name for c in CARD.classes]
    assert watch.seams.summary(names, watch.blocks) == report["seams"]
    assert sum(row["voxels"] for row in watch.calibration.table) == _decided(skips)


def _decided(skips: bool) -> int:
    values = known(skips, (32, 32)).values
    return int((values > (LOW if skips else 0)).sum())  # NaN is above nothing


def test_what_is_written_with_holes_is_not_scored(tmp_path: Path) -> None:
    """Scoring refuses an image of which a part can't be read; predict writes the rest of it."""
    image = damaged(tmp_path / "image.tif")
    label = write_raster(tmp_path / "label.tif", np.full((1, 600, 500), IDS[0], np.uint8))
    with pytest.raises(PartialResultError):
        predict(image, tmp_path / "out.tif", model=(CARD, crooked))
    found = collect_cases(Path(f"{image}={label}"), "all", CARD, PredictOptions(), ())
    with found.open(found.cases[0]) as (region, _), pytest.raises(ReadError, match="image"):
        list(predict_blocks(region, CARD, crooked))
