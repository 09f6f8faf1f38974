"""Values against a card: what fits, what is told, what is refused, and which remedy works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.card import ModelCard
from seg_batch.config.card_parts.channels import Channel, ChannelStatistics
from seg_batch.core.georef import RasterGeoref
from seg_batch.inference.fit.values import value_findings
from seg_batch.inference.fit.verdict import Verdict
from seg_batch.io.sources.naming.channel_names import ChannelNames
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.sample import Sample

MEANS, STDS = np.array([9000.0, 9500.0, 15000.0]), np.array([800.0, 1500.0, 2600.0])
INFO = SourceInfo(
    "a.tif", "geotiff", "raster", (200, 200), ("a", "b", "c"), "uint16", RasterGeoref(), (8, 8)
)


def scene(seed: int = 0, count: int = 5000) -> np.ndarray:
    """Values like those of the training, ``(count, 3)``."""
    return np.random.default_rng(seed).normal(MEANS, STDS, (count, 3)).astype(np.float32)


def statistics(values: np.ndarray) -> ChannelStatistics:
    percentiles = np.percentile(values, (0, 1, 50, 99, 100)).tolist()
    return ChannelStatistics(mean=values.mean(), std=values.std(), percentiles=percentiles)


def card(quantity: Any = "DN", **fields: Any) -> ModelCard:
    training = scene(7).astype(np.float64)
    channels = [
        Channel(name=name, quantity=quantity, statistics=statistics(training[:, n]))
        for n, name in enumerate(("blue", "red", "nir"))
    ]
    two = [{"id": k, "name": str(k), "colour": (k, k, k)} for k in (0, 1)]
    base = {"name": "m", "kind": "any", "classes": two, "channels": channels}
    return ModelCard(**{**base, "normalisation": {"kind": "identity"}, **fields})


def verdict(
    values: np.ndarray, model: ModelCard | None = None, info: SourceInfo = INFO, **parts: Any
) -> Verdict:
    valid = parts.pop("valid", np.isfinite(values))
    edge = parts.pop("edge", np.zeros(len(values), bool))
    seen = Sample(values, valid, edge, **parts)
    return Verdict.of(value_findings(model or card(), info, seen))


@given(st.integers(1, 10**6), st.integers(2, 400), st.floats(0.02, 1))
def test_scenes_of_the_sensor_fit_however_small_or_uniform(
    seed: int, count: int, width: float
) -> None:
    values = scene(seed, count)
    brightness = np.random.default_rng(seed + 1).uniform(-2, 2)
    middle = MEANS + brightness * STDS
    uniform = (middle + (values - MEANS) * width * 0.5).clip(MEANS - 3 * STDS, MEANS + 3 * STDS)
    assert verdict(uniform.astype(np.float32)) == Verdict()


@pytest.mark.parametrize(
    ("change", "outcome", "remedy"),
    [
        (lambda v: v * 2e-5 - 0.1, "does not fit", "--scale 50000 --offset 5000"),
        (lambda v: v / 1e4, "does not fit", "--scale 10000"),
        (lambda v: v * 1e4, "does not fit", "--scale 0.0001"),
        (lambda v: v / 255, "does not fit", "--scale 255"),
        (lambda v: v[:, ::-1], "does not fit", "--bands 3,2,1"),
        (lambda v: v[:, [1, 2, 0]], "unusual", "--bands 3,1,2"),
        (lambda v: v[:, [1, 0, 2]], "unusual", "--bands 2,1,3"),
        (lambda v: v - 6000, "does not fit", "another --model"),
        (lambda v: v + np.float32([0, 0, 10_000]), "unusual", "another --model"),
    ],
)
def test_other_units_and_orders(
    change: Callable[[np.ndarray], np.ndarray], outcome: str, remedy: str
) -> None:
    found = verdict(change(scene()).astype(np.float32))
    assert found.outcome == outcome
    assert remedy in found.line
    assert "in training it lay between" in found.line or outcome != "does not fit"


def test_the_tags_of_a_file_are_left_out_on_request() -> None:
    found = verdict(scene() * 3e-5 - 0.2, scale=(3e-5,) * 3, offset=(-0.2,) * 3)
    assert found.line.endswith("try --scale none")


def test_mean_and_deviation_of_the_normalisation_serve_where_there_is_no_more() -> None:
    bare = card(normalisation={"kind": "card", "mean": MEANS.tolist(), "std": STDS.tolist()})
    bare = bare.model_copy(update={"channels": tuple(Channel(name=n) for n in "abc")})
    assert verdict(scene(), bare) == Verdict()
    assert verdict(scene() / 1e4, bare).outcome == "unusual"
    other = scene()[:, [1, 0, 2]]
    assert "--bands 2,1,3" in verdict(other, bare).line
    named = replace(INFO, names=tuple(ChannelNames((name,)) for name in "abc"))
    assert verdict(other, bare, named) == Verdict()  # the file says which they are


def test_images_with_a_scale_of_their_own_are_not_held_against_numbers() -> None:
    assert verdict(scene() / 7, card("arbitrary")) == Verdict()


def test_undeclared_fill_is_told_and_says_nothing_of_the_rest() -> None:
    values = scene()
    values[:200] = 0
    found = verdict(values)
    assert found.outcome == "unusual"
    assert "0 fills 4%" in found.line.replace("4.0%", "4%")
    values = scene()
    values[:20] = 0
    assert verdict(values) == Verdict()  # dark pixels happen
    edge = np.zeros(len(values), bool)
    edge[:40] = True
    assert verdict(values, edge=edge).outcome == "unusual"
    values[:2500] = -9999
    assert verdict(values).outcome == "unusual"


def test_a_channel_that_is_missing_or_empty() -> None:
    values = scene()
    values[:2000, 2] = np.nan
    assert verdict(values).reasons == ["nir is missing on 40.0% of what other channels cover"]
    values[:, 2] = 5
    found = verdict(values)
    assert (found.outcome, found.reasons) == ("does not fit", ["nir is 5 everywhere"])
    values[:] = np.nan
    assert verdict(values).reasons == ["it has no values but NaN"]
    values[:] = 3
    assert verdict(values).reasons == ["each of its channels is constant everywhere"]
    assert (
        verdict(values, valid=np.zeros(values.shape, bool)).outcome == "unusual"
    )  # declared nodata


def hounsfield(card_modality: str) -> ModelCard:
    ct = np.concatenate([np.full(3000, -1000.0), np.linspace(-900, 1200, 3000)])
    channel = Channel(name="CT", quantity="HU", statistics=statistics(ct))
    return card(channels=[channel], modality=card_modality)


def test_air_tells_ct_from_mr_and_hu_from_stored_numbers() -> None:
    rng = np.random.default_rng(1)
    ct = np.concatenate([np.full(500, -1000.0), rng.uniform(-200, 900, 700)])[:, None]
    mr = rng.uniform(0, 700, (900, 1))
    assert verdict(ct, hounsfield("CT")) == Verdict()
    assert "--offset -1024" in verdict(ct + 1024, hounsfield("CT")).line
    arbitrary = card(
        "arbitrary", channels=[Channel(name="T1", quantity="arbitrary")], modality="MR"
    )
    assert verdict(mr, arbitrary) == Verdict()
    assert "as air in CT does" in verdict(ct, arbitrary).line


def test_fill_of_one_channel_is_seen() -> None:
    values = scene()
    values[:300, 2] = 0
    (finding,) = verdict(values).findings
    assert finding.outcome == "unusual"
    assert finding.measure.startswith("0 fills 6.0% of nir, which is no value of the training")


def test_one_channel_twice_and_a_channel_that_is_another() -> None:
    values = scene()
    values[:, 1] = values[:, 0]
    assert "blue and red have the same values" in verdict(values).reasons
    values = scene()
    values[:, 1] += np.float32(2.3 * STDS[1])
    (finding,) = verdict(values).findings
    assert (finding.outcome, finding.measure.partition(" lies")[0]) == ("unusual", "red")


def test_a_part_of_an_image_proves_nothing_of_the_rest() -> None:
    flat = np.full((2000, 3), 9000, np.float32)
    assert verdict(flat).outcome == "does not fit"
    assert verdict(flat, whole=False).outcome == "unusual"
    nothing = verdict(np.empty((0, 3), np.float32))
    assert (nothing.outcome, "blocks are too large" in nothing.line) == ("unusual", True)


def test_numbers_of_bands_are_those_of_the_file() -> None:
    found = verdict(scene()[:, ::-1], numbers=(2, 3, 5))
    assert found.line.endswith("try --bands 5,3,2")


def test_a_channel_that_was_constant_in_training_may_be_so() -> None:
    values = scene()
    values[:, 2] = 15000
    assert verdict(values).outcome == "fits"
    values[:, 2] = 3
    assert verdict(values).reasons == ["nir is 3 everywhere"]
