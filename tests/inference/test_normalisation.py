"""What a model sees of an image whose numbers are its own, and what a run says and keeps of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from seg_batch.config.card import ModelCard, Normalisation
from seg_batch.config.card_parts.resampling import Resampling
from seg_batch.config.image_options.grid import GridOptions
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.core.normalise import Normaliser
from seg_batch.core.statistics.schemes import SCHEMES
from seg_batch.evaluation.view_region import whole_region
from seg_batch.inference.plan import Plan
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import open_view
from tests.support.files import write_raster, write_volume
from tests.support.training.recipes import recipe

SIDE = 24


def card(kind: str) -> ModelCard:
    return ModelCard(
        name="sees",
        kind="raster",
        rank=2,
        channels=("a", "b"),
        classes=({"id": 0, "name": "low"}, {"id": 7, "name": "high"}),
        patch=(SIDE, SIDE),
        overlap=(0, 0),
        normalisation=Normalisation(kind=kind),
    )


def scene(folder: Path) -> tuple[Path, np.ndarray]:
    """A frame of 0 in both bands, one pixel without data; ``(y, x, band)``."""
    values = np.random.default_rng(6).integers(0, 900, (2, SIDE, SIDE)).astype(np.int16)
    values[:, :5] = 0
    values[0, 20, 20] = -9999
    path = write_raster(folder / "a.tif", values, nodata=-9999)
    return path, np.moveaxis(values, 0, -1)


def expected(kind: str, values: np.ndarray) -> np.ndarray:
    """With numpy, band by band, on the whole image."""
    out, valid = np.zeros(values.shape), values != -9999
    inside = (values * valid != 0).any(-1)
    for c in range(2):
        here = valid[..., c] & (inside if kind == "nonzero" else True)
        v = values[here, c].astype(float)
        low, high = np.percentile(v, {"range": (0, 100)}.get(kind, (2, 98)))
        scaled = (v.clip(low, high) - low) / (high - low)
        out[here, c] = scaled if kind in ("range", "percentiles") else (v - v.mean()) / v.std()
    return out


@pytest.mark.parametrize("kind", SCHEMES)
def test_a_model_sees_an_image_by_its_own_numbers(tmp_path: Path, kind: str) -> None:
    path, values = scene(tmp_path)
    seen: list[np.ndarray] = []

    def predictor(patches: np.ndarray) -> np.ndarray:
        seen.extend(patches)
        return np.full((*patches.shape[:-1], 2), 0.5, np.float32)

    report = predict_one(Request(str(path), str(tmp_path / "o.tif"), (card(kind), predictor)))
    np.testing.assert_allclose(seen[-1], expected(kind, values), atol=1e-5)
    plan = json.loads(json.dumps(report["plan"]))
    numbers = plan["normaliser"]
    assert ("nonzero" in numbers) == (kind == "nonzero")
    assert plan["fingerprint"]["normaliser"] == numbers
    assert Plan.from_json(plan).normaliser == Normaliser.from_json(numbers)
    with open_view(path, card(kind)) as view:
        assert whole_region(view, card(kind)).normaliser == view.statistics(kind)


def test_an_image_that_percentiles_would_make_one_value_of_is_refused(tmp_path: Path) -> None:
    values = np.zeros((2, SIDE, SIDE), np.uint8)
    values[:, 3, 3:9] = 200
    path = write_raster(tmp_path / "a.tif", values)
    request = Request(str(path), str(tmp_path / "o.tif"), (card("percentiles"), lambda x: x))
    with pytest.raises(InputError, match=r"a\.tif: band1 is 0 from percentile 2 to 98"):
        predict_one(request)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "nonzero", "mean": [1.0]}, "leave mean, std, low and high out"),
        ({"kind": "percentiles", "low": [1.0], "high": [2.0]}, "takes the numbers of each image"),
        ({"kind": "z-score"}, "nonzero"),
    ],
)
def test_rules_that_can_t_be_are_refused(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Normalisation.model_validate(rule)


def test_zeros_are_never_resampled_by_weights_that_overshoot() -> None:
    assert card("nonzero").resampling == Resampling(up="linear")
    assert card("source").resampling == Resampling()
    plain = {**card("nonzero").model_dump(mode="json"), "resampling": {"tolerance": 0.1}}
    with pytest.raises(ValueError, match="cubic resampling makes small values of 0"):
        ModelCard.model_validate(plain)
    template = recipe(card={"normalisation": "nonzero"}).card
    assert template.resampling.up == template.card().resampling.up == "linear"


def test_what_is_0_stays_0_on_the_grid_of_the_model(tmp_path: Path) -> None:
    """A body of one value in air of 0, at 2 mm, for a model of 1 mm."""
    head = np.zeros((12, 12, 12), np.int16)
    head[4:8, 4:8, 4:8] = 500
    path = write_volume(tmp_path / "a.nii", head, np.diag([2, 2, 2, 1]))
    plain = card("nonzero").model_dump(mode="json", exclude={"resampling"})
    plain |= {"kind": "volume", "rank": 3, "channels": ["a"], "spacing_mm": [1, 1, 1]}
    model = ModelCard.model_validate({**plain, "patch": [8, 8, 8], "overlap": [0, 0, 0]})
    with open_view(ImageSpec((str(path),), grid=GridOptions()), model) as view:
        pixels = view.model.read(Box.whole(view.model.info.extent))
        out = view.statistics("nonzero")(pixels)[..., 0]
    assert out.shape == (24, 24, 24)
    out[7:17, 7:17, 7:17] = 0
    assert not out.any()


MIXED = {
    "kind": "mixed",
    "kinds": ("card", "nonzero"),
    "mean": (100.0, 0.0),
    "std": (300.0, 1.0),
    "low": (-50.0, None),
    "high": (500.0, None),
}


def test_each_channel_is_normalised_in_its_own_way(tmp_path: Path) -> None:
    path, values = scene(tmp_path)
    seen: list[np.ndarray] = []

    def predictor(patches: np.ndarray) -> np.ndarray:
        seen.extend(patches)
        return np.full((*patches.shape[:-1], 2), 0.5, np.float32)

    mixed = card("source").model_copy(update={"normalisation": Normalisation(**MIXED)})
    report = predict_one(Request(str(path), str(tmp_path / "o.tif"), (mixed, predictor)))
    clipped = (values[..., 0].clip(-50, 500) - 100) / 300
    by_hand = np.stack(
        [np.where(values[..., 0] == -9999, 0, clipped), expected("nonzero", values)[..., 1]], -1
    )
    np.testing.assert_allclose(seen[-1], by_hand, atol=1e-5)
    plan = json.loads(json.dumps(report["plan"], allow_nan=False))
    numbers = plan["normaliser"]
    assert (numbers["nonzero"], numbers["low"]) == ([False, True], [-50, None])
    assert Plan.from_json(plan).normaliser == Normaliser.from_json(numbers)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "card"},
        {"kinds": ()},
        {"kinds": ("card", "source", "source")},
        {"mean": (1.0,)},
        {"low": (None, None)},
        {"low": (700.0, None)},
        {"kind": "card", "kinds": ()},
    ],
)
def test_kinds_that_fit_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelCard(**{**card("source").model_dump(), "normalisation": {**MIXED, **change}})


def test_a_card_of_before_is_written_as_before() -> None:
    rule = Normalisation(kind="source")
    assert "kinds" not in rule.model_dump()
    assert "normalised" not in Resampling().model_dump()
    assert Normalisation(**MIXED) == Normalisation(**Normalisation(**MIXED).model_dump())
    cubic = Resampling(up="cubic", normalised=True)
    assert Resampling(**cubic.model_dump()) == cubic
