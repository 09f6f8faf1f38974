"""Physical values are what a model sees: by the file's scale, or one that is put on it; never by two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.workflow import read
from seg_batch.core.errors import InputError, RefusedError, WorkflowError
from seg_batch.evaluation.held_out_cases import collect_cases
from seg_batch.inference.bundles import mismatch
from seg_batch.inference.request import Request, prepare
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.image_spec import ImageSpec
from seg_batch.io.sources.views.open_view import open_view

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
VALUES = np.random.default_rng(5).integers(0, 100, (3, 20, 24)).astype("int16")


def card(**changed: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "t",
        "kind": "raster",
        "rank": 2,
        "patch": (8, 8),
        "overlap": (2, 2),
        "channels": tuple(Channel(name=name) for name in ("red", "green", "blue")),
        "classes": tuple(ClassInfo(id=k, name=f"k{k}", colour=(k, k, k)) for k in range(3)),
        "normalisation": Normalisation(kind="card", mean=(40, 50, 60), std=(90, 80, 70)),
    }
    return ModelCard(**{**fields, **changed})


def greatest(patches: np.ndarray) -> np.ndarray:
    return np.eye(3, dtype="f4")[patches.argmax(-1)]


MODEL = (card(), greatest)


def scene(path: Path, values: np.ndarray, scales: Any = None, offsets: Any = None) -> Path:
    size: Any = {"driver": "GTiff", "height": 20, "width": 24, "count": len(values)}
    with rasterio.open(path, "w", **size, dtype=values.dtype) as file:
        file.write(values)
        if scales:
            file.scales, file.offsets = scales, offsets
    return path


def labels(path: Path, **options: Any) -> np.ndarray:
    out = path.with_name("out.tif")
    seg_batch.predict(path, out, model=MODEL, overwrite=True, **options)
    with rasterio.open(out) as file:
        return file.read(1)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0.5, "offset": -10},
        {"scale": "0.5", "offset": "-10"},
        {"scale": (0.5, 0.5, 0.5), "offset": [-10.0, -10.0, -10.0]},
    ],
)
def test_a_scale_by_hand_is_the_scale_of_a_tag(tmp_path: Path, options: dict[str, Any]) -> None:
    stored = (VALUES + 10) * 2
    expected = labels(scene(tmp_path / "p.tif", VALUES))
    tagged = scene(tmp_path / "t.tif", stored, [0.5] * 3, [-10.0] * 3)
    np.testing.assert_array_equal(labels(tagged), expected)
    plain = scene(tmp_path / "s.tif", stored)
    assert (labels(plain) != expected).any()
    np.testing.assert_array_equal(labels(plain, **options), expected)
    with pytest.raises(RefusedError, match=r"scale of its own \(x 0.5 \+ -10\).*--scale none"):
        labels(tagged, **options)
    np.testing.assert_array_equal(labels(tagged, scale="none"), labels(plain))
    np.testing.assert_array_equal(labels(tagged, scale="none", offset=3), labels(plain, offset=3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": (1, 2)}, "--scale has 2 numbers and .* 3 channels: give one, or one for each"),
        ({"offset": (1, 2, 3, 4)}, "--offset has 4 numbers"),
        ({"scale": ()}, "--scale has 0 numbers"),
        ({"scale": 0}, "--scale is 0"),
        ({"scale": (1, float("nan"), 1)}, "--scale holds a value that is no number"),
        ({"offset": float("inf")}, "--offset holds a value that is no number"),
        ({"scale": "much"}, "scale 'much' is no number"),
        ({"offset": "none"}, "offset 'none' is no number"),
        ({"scale": True}, "scale is True"),
        ({"scale": ("none",)}, "scale is"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        labels(scene(tmp_path / "s.tif", VALUES), **options)


def test_scales_per_band_follow_the_bands_that_are_taken(tmp_path: Path) -> None:
    factors = (2, 5, 4)
    expected = labels(scene(tmp_path / "p.tif", VALUES))
    stored = np.stack([band * factor for band, factor in zip(VALUES, factors, strict=True)])
    turned = scene(tmp_path / "t.tif", np.concatenate([stored[::-1], stored[:1]]))
    by_hand = labels(turned, bands=(3, 2, 1), scale=(1 / 2, 1 / 5, 1 / 4))
    np.testing.assert_array_equal(by_hand, expected)
    with rasterio.open(turned, "r+") as file:
        file.descriptions = ("blue", "green", "red", "other")
    by_name = labels(turned, scale=(1 / 4, 1 / 5, 1 / 2, 1))
    np.testing.assert_array_equal(by_name, expected)


def test_what_changes_values_is_in_the_fingerprint_and_nothing_else(tmp_path: Path) -> None:
    plain = scene(tmp_path / "s.tif", VALUES)
    tagged = scene(tmp_path / "t.tif", VALUES, [0.5] * 3, [0.0] * 3)

    def identity(path: Path, **options: Any) -> dict[str, Any]:
        request = Request(str(path), model=MODEL, options=PredictOptions(**options))
        return {k: v for k, v in prepare(request).plan.identity.items() if k in ("scale", "offset")}

    assert identity(plain) == identity(plain, scale=(1.0,), offset=(0.0,)) == {}
    assert identity(plain, scale="none") == identity(tagged) == {}
    assert identity(plain, scale=(0.5,)) == {"scale": (0.5,) * 3, "offset": None}
    assert identity(tagged, scale="none") == {"scale": None, "offset": None}


def test_volumes_evaluation_and_statistics_see_the_same_values(tmp_path: Path) -> None:
    scan = tmp_path / "v.nii"
    image = nibabel.Nifti1Image(np.arange(60, dtype="int16").reshape(3, 4, 5), np.eye(4))
    nibabel.save(image, scan)
    spec = ImageSpec((str(scan),), scale=(2.0,), offset=(1.0,))
    with open_view(
        spec, card(kind="volume", channels=None, normalisation=Normalisation(kind="source"))
    ) as view:
        assert view.statistics().mean == pytest.approx((2 * 29.5 + 1,))
    path, truth = scene(tmp_path / "s.tif", VALUES), scene(tmp_path / "l.tif", VALUES[:1] % 3)
    cases = collect_cases(Path(f"{path}={truth}"), "all", card(), PredictOptions(scale=(3.0,)), ())
    with cases.open(cases.cases[0]) as (region, _):
        np.testing.assert_array_equal(
            region.read(region.box).physical(), np.moveaxis(VALUES, 0, -1) * 3.0
        )


def test_a_model_of_stored_numbers_gets_them_only_when_asked(tmp_path: Path) -> None:
    stored = card(channels=tuple(Channel(name=n, quantity="DN") for n in ("red", "green", "blue")))
    tagged = scene(tmp_path / "t.tif", VALUES, [0.5] * 3, [0.0] * 3)
    info = open_source(tagged).info
    assert "--scale none" in str(mismatch(stored, info))
    assert mismatch(card(), info) is None
    assert mismatch(stored, open_source(scene(tmp_path / "s.tif", VALUES)).info) is None
    with pytest.raises(RefusedError, match="takes stored numbers"):
        seg_batch.predict(tagged, tmp_path / "o.tif", model=(stored, greatest))
    assert (
        seg_batch.predict(tagged, tmp_path / "o.tif", model=(stored, greatest), scale="none")[
            "status"
        ]
        == "complete"
    )


def test_keys_of_workflows(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"

    def options(text: str) -> PredictOptions:
        path.write_text(f"inputs: a.tif\noutputs: out\noptions: {{{text}}}\n", encoding="utf-8")
        workflow = read(path)
        assert type(workflow).model_validate(workflow.to_json()) == workflow
        return workflow.plan_options()

    assert options("scale: 0.0001, offset: -0.1").scale == (0.0001,)
    assert options("scale: 0.0001, offset: -0.1").offset == (-0.1,)
    assert options("scale: [1, 2.5, 3]").scale == (1.0, 2.5, 3.0)
    assert options('scale: "1,2,3"').scale == (1.0, 2.0, 3.0)
    assert options("scale: none").scale == "none"
    plain, scaled = options(""), options("scale: 2")
    assert plain.scale is None
    assert scaled != plain
    for wrong in ("scale: much", "offset: none", "scale: true", "offset: [a]"):
        with pytest.raises(WorkflowError, match=r"scale|offset"):
            options(wrong)


def test_an_open_alpha_needs_no_number_of_its_own(tmp_path: Path) -> None:
    size: Any = {"driver": "GTiff", "height": 20, "width": 24, "count": 4, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **size, photometric="RGB", alpha="YES") as file:
        file.write(np.concatenate([VALUES, VALUES[:1] * 0 + 255]).astype("uint8"))
    expected = labels(scene(tmp_path / "p.tif", VALUES * 2))
    np.testing.assert_array_equal(labels(tmp_path / "a.tif", scale=(2, 2, 2)), expected)
    with pytest.raises(InputError, match="--scale has 2"):
        labels(tmp_path / "a.tif", scale=(2, 2))
