"""Spacing, pixel size and field of view against a card."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import ModelCard
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import InputError
from seg_batch.inference.bundles import Model, find_bundle
from seg_batch.inference.fit.choice import judge
from seg_batch.inference.fit.look import look
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.open_view import open_view
from tests.support.files import address_raster, address_volume, write_raster, write_volume

HIPPOCAMPUS = find_bundle("hippocampus-mri").card
LANDSAT = find_bundle("landsat8-landcover").card


def outcome(card: ModelCard, path: Path) -> str:
    blank = {"channels": None, "normalisation": {"kind": "identity"}}  # of values says nothing
    card = ModelCard(**{**card.model_dump(), **blank})
    with open_view(str(path), card) as view:
        return look(view, [card]).outcome


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((1, 1, 1), (36, 50, 36), "fits"),
        ((0.8, 1, 1.3), (40, 50, 28), "fits"),
        ((1, 1, 3), (36, 50, 12), "does not fit"),
        ((0.7, 0.7, 5), (50, 70, 7), "does not fit"),
        ((2, 2, 2), (18, 25, 18), "unusual"),
        ((0.5, 0.5, 0.5), (70, 100, 70), "unusual"),
        ((1, 1, 1), (180, 217, 180), "does not fit"),  # a whole head
        ((1, 1, 1), (36, 50, 100), "unusual"),  # longer along one axis
        ((1, 1, 1), (36, 50, 9), "unusual"),
    ],
)
def test_volumes(
    tmp_path: Path, spacing: tuple[float, ...], shape: tuple[int, int, int], expected: str
) -> None:
    path = write_volume(tmp_path / "v.nii", address_volume(shape), np.diag([*spacing, 1]))
    assert outcome(HIPPOCAMPUS, path) == expected
    turned = np.diag([*spacing, 1.0])[:, [2, 0, 1, 3]] @ np.diag([-1, 1, -1, 1])
    values = address_volume(tuple(shape[n] for n in (2, 0, 1)))
    assert outcome(HIPPOCAMPUS, write_volume(tmp_path / "t.nii", values, turned)) == expected


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 9), "fits"), ((1.6, 1.6, 1), "fits"), ((3, 3, 1), "does not fit")],
)
def test_a_card_of_two_sizes_is_held_against_those_within_slices(
    tmp_path: Path, spacing: tuple[float, ...], expected: str
) -> None:
    path = write_volume(tmp_path / "v.nii", address_volume((36, 50, 12)), np.diag([*spacing, 1]))
    plain = HIPPOCAMPUS.model_dump()
    shape = dict.fromkeys(("patch", "overlap", "margin", "border", "multiple"))
    ranges = {"spacing_range_mm": None, "field_of_view_mm": None}
    flat = {**plain, **shape, **ranges, "rank": 2, "spacing_mm": (1.2, 1.2)}
    assert outcome(ModelCard(**flat), path) == expected
    for sizes, rank in (((1.0,), 2), ((1.0, 1.0), 3), ((1.0,) * 4, 2)):
        with pytest.raises(ValueError, match="no size of a voxel: give z, y, x"):
            ModelCard(**{**flat, "spacing_mm": sizes, "rank": rank})


def test_a_model_whose_grid_is_none_here_does_not_fit_and_stops_no_other(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "v.nii", address_volume((36, 50, 36)), np.eye(4))
    tiny = HIPPOCAMPUS.model_copy(update={"spacing_mm": (1e-5,) * 3, "spacing_range_mm": None})
    models = [Model(card, function=lambda x: x) for card in (tiny, HIPPOCAMPUS)]
    with closing(open_source(path)) as file:
        verdicts = [verdict for _, verdict in judge(file, models)]
        with pytest.raises(InputError, match="single voxel"):
            judge(file, models, grid=GridOptions(spacing=(99.0,)))
    assert "more than any machine holds" in verdicts[0].line
    assert verdicts[0].outcome == "does not fit"
    assert "machine" not in verdicts[1].line


@pytest.mark.parametrize(
    ("georeference", "expected"),
    [
        ({"size": 30}, "fits"),
        ({"size": 20.5}, "fits"),
        ({"size": 60}, "unusual"),
        ({"size": 10}, "does not fit"),
        ({"size": 300}, "does not fit"),
        ({"size": 3e-4, "crs": "EPSG:4326", "x": -113, "y": 37}, "fits"),
        ({"size": 3e-3, "crs": "EPSG:4326", "x": -113, "y": 37}, "does not fit"),
        (
            {"size": 60, "crs": "EPSG:3857", "x": -12e6, "y": 8.4e6},
            "fits",
        ),  # half of it at 60 north
        ({"size": 30, "crs": None}, "fits"),  # nobody knows
    ],
)
def test_rasters(tmp_path: Path, georeference: dict[str, Any], expected: str) -> None:
    size, x, y = (georeference.get(k, v) for k, v in (("size", 0), ("x", 3e5), ("y", 4e6)))
    transform = (size, 0, x, 0, -size, y)
    path = write_raster(
        tmp_path / "r.tif",
        address_raster((40, 50), 4, "uint8"),
        photometric="minisblack",
        crs=georeference.get("crs", "EPSG:32612"),
        transform=transform,
    )
    assert outcome(LANDSAT, path) == expected
