"""Maps that a person should look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.inference.bundles import find_bundle
from seg_batch.inference.fit.review import review_of

HIPPOCAMPUS = find_bundle("hippocampus-mri").card
VOLUME = VolumeGeoref(tuple(map(tuple, np.eye(4).tolist())))
LANDSAT = find_bundle("landsat8-landcover").card


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        ({0: 60_000, 1: 1700, 2: 1500}, []),
        (
            {0: 60_000, 1: 170_000, 2: 45_000},
            ["170 mL, in training 1.05 mL to", "45 mL, in training"],
        ),
        ({0: 60_000, 1: 0, 2: 1500}, ["there is no anterior hippocampus"]),
        ({0: 60_000}, ["all of it is background"]),
        ({255: 9}, ["no voxel has a label"]),
    ],
)
def test_volumes(voxels: dict[int, int], words: list[str]) -> None:
    reasons = review_of(HIPPOCAMPUS, voxels, VOLUME)
    assert len(reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, reasons, strict=True))


def test_one_scene_of_training_says_little_of_shares() -> None:
    assert review_of(LANDSAT, {4: 50, 5: 50}, RasterGeoref()) == []
    assert review_of(LANDSAT, {3: 5000}, RasterGeoref()) == [
        "all of it is barren, in training at most 3.1%"
    ]


def test_without_ranges_only_one_class_alone_is_told() -> None:
    fields: dict[str, Any] = {"share": None, "volume_ml": None}
    bare = [c.model_copy(update=fields) for c in HIPPOCAMPUS.classes]
    card = HIPPOCAMPUS.model_copy(update={"classes": tuple(bare)})
    assert review_of(card, {0: 10, 1: 999}, VOLUME) == []
    assert review_of(card, {0: 10}, VOLUME) == ["all of it is background"]
