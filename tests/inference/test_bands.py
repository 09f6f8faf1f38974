"""Bands by name or by hand: the map of the straight file, in every command that predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

import seg_batch
from seg_batch.batch.inputs.tables import rows_of_manifest
from seg_batch.batch.job import job_of
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.workflow import read
from seg_batch.core.errors import InputError, RefusedError, WorkflowError
from seg_batch.core.geometry import Box
from seg_batch.evaluation.held_out_cases import collect_cases
from seg_batch.inference.request import Request, prepare
from seg_batch.io.sources.views.open_view import Axes, open_view
from tests.support.files import segbatch

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
NAMES = ("blue", "green", "red", "nir")
VALUES = np.random.default_rng(2).integers(1, 200, (4, 40, 30)).astype("uint8")
CARD = ModelCard(
    name="t",
    kind="raster",
    rank=2,
    patch=(16, 16),
    overlap=(4, 4),
    channels=(*map(Channel.model_validate, NAMES[:3]), Channel(name="near infrared", aliases=("nir", "B5"))),
    classes=tuple(ClassInfo(id=k, name=f"k{k}", colour=(k, k, k)) for k in range(4)),
    normalisation=Normalisation(kind="card", mean=(90, 80, 70, 60), std=(90, 80, 70, 60)),
)  # fmt: skip
SHUFFLE = (3, 1, 0, 2)


def greatest(patches: np.ndarray) -> np.ndarray:
    return np.eye(4, dtype="f4")[patches.argmax(-1)]


MODEL = (CARD, greatest)


def scene(path: Path, order: tuple[int, ...], names: tuple[str, ...] = (), **more: Any) -> Path:
    size: Any = {"driver": "GTiff", "height": 40, "width": 30, "count": len(order), "nodata": 7}
    with rasterio.open(
        path, "w", **{**size, "dtype": "uint8", "photometric": "MINISBLACK", **more}
    ) as f:
        f.write(VALUES[list(order)])
        if names:
            f.descriptions = names
    return path


def labels(path: Path, **options: Any) -> np.ndarray:
    out = path.with_name(f"{path.stem}_out.tif")
    report = seg_batch.predict(path, out, model=MODEL, overwrite=True, **options)
    assert report["status"] == "complete"
    with rasterio.open(out) as file:
        assert file.tags().get("SEGBATCH_BANDS", "") == ",".join(
            map(str, report["plan"]["fingerprint"].get("bands", []))
        )
        return file.read(1)


@pytest.fixture
def straight(tmp_path: Path) -> np.ndarray:
    return labels(scene(tmp_path / "straight.tif", (0, 1, 2, 3)))


def test_named_bands_give_the_map_of_the_straight_file(
    tmp_path: Path, straight: np.ndarray
) -> None:
    named = scene(tmp_path / "n.tif", SHUFFLE, tuple(NAMES[k] for k in SHUFFLE))
    among = scene(tmp_path / "a.tif", (1, *SHUFFLE, 0), ("x", *(NAMES[k] for k in SHUFFLE), "ndvi"))
    in_order = scene(tmp_path / "o.tif", (0, 1, 2, 3), NAMES)
    for path, told in ((named, True), (among, True), (in_order, False)):
        np.testing.assert_array_equal(labels(path), straight)
        prepared = prepare(Request(str(path), model=MODEL))
        assert any("by name" in line for line in prepared.info.warnings) == told
        assert ("bands" in prepared.plan.identity) == told
    narrow, wide = (prepare(Request(str(path), model=MODEL)).plan for path in (named, among))
    assert narrow.promised_bytes == wide.promised_bytes


@pytest.mark.parametrize("bands", [(3, 2, 4, 1), ("3", "2", "4", "1"), "3,2,4,1", ["3", 2, 4, 1]])
def test_bands_by_hand(tmp_path: Path, straight: np.ndarray, bands: Any) -> None:
    path = scene(tmp_path / "h.tif", SHUFFLE, ("red", "green", "blue", "swir16"))
    with pytest.raises(RefusedError, match=r"none is named as near infrared; say .* --bands"):
        labels(path)
    np.testing.assert_array_equal(labels(path, bands=bands), straight)
    with pytest.raises(RefusedError, match="no band 9; it has 1 red, 2 green, 3 blue, 4 swir16"):
        labels(path, bands=(1, 2, 3, 9))
    with pytest.raises(RefusedError, match="needs 4 channels"):
        labels(path, bands="1,2,3")
    with pytest.raises(RefusedError, match="is no list of bands"):
        labels(path, bands="1,,3")


def test_bands_by_hand_over_names_and_in_order(tmp_path: Path, straight: np.ndarray) -> None:
    named = scene(tmp_path / "n.tif", (0, 1, 2, 3), NAMES[::-1])
    np.testing.assert_array_equal(labels(named, bands=(1, 2, 3, 4)), straight)
    plan = prepare(
        Request(str(named), model=MODEL, options=PredictOptions(bands=(1, 2, 3, 4)))
    ).plan
    assert "bands" not in plan.identity


def test_an_alpha_beside_named_bands_stays_a_mask(tmp_path: Path) -> None:
    alpha = np.where(np.arange(40)[:, None] < 10, 0, 255) * np.ones((40, 30), int)
    path = tmp_path / "rgba.tif"
    size: Any = {"driver": "GTiff", "height": 40, "width": 30, "count": 5, "dtype": "uint8"}
    with rasterio.open(path, "w", **size, photometric="RGB") as file:
        file.colorinterp = [ColorInterp[c] for c in ("red", "green", "blue", "undefined", "alpha")]
        file.write(np.concatenate([VALUES[[2, 1, 0, 3]], alpha[None].astype("uint8")]))
        file.descriptions = ("red", "green", "blue", "nir", "alpha")
    out = labels(path)
    np.testing.assert_array_equal(out == CARD.nodata, alpha == 0)
    by_hand = labels(path, bands="blue,green,red,nir")
    np.testing.assert_array_equal(by_hand, out)


def test_an_open_alpha_that_no_number_settles_needs_the_option(tmp_path: Path) -> None:
    path = scene(tmp_path / "open.tif", (0, 1, 2, 3), photometric="RGB", alpha="YES", nodata=None)
    two = (CARD.model_copy(update={"channels": CARD.channels[:2], "normalisation": Normalisation(kind="identity")}),
           lambda patches: np.eye(4, dtype="f4")[patches.argmax(-1)])  # fmt: skip
    with pytest.raises(RefusedError, match="--alpha mask or --alpha data"):
        seg_batch.predict(path, tmp_path / "o.tif", model=two, bands=(2, 1))
    seg_batch.predict(path, tmp_path / "o.tif", model=two, bands=(2, 4))
    seg_batch.predict(path, tmp_path / "p.tif", model=two, bands=(2, 1), alpha="data")


def test_another_choice_of_bands_is_another_plan(tmp_path: Path) -> None:
    path = scene(tmp_path / "h.tif", SHUFFLE)
    seg_batch.predict(path, tmp_path / "o.tif", model=MODEL, bands=(3, 2, 4, 1), keep_store=True)
    with pytest.raises(RefusedError, match=r"another plan .*bands"):
        seg_batch.predict(path, tmp_path / "o.tif", model=MODEL, bands=(1, 2, 3, 4))


def test_workflows_and_manifests_name_bands(tmp_path: Path) -> None:
    scene(tmp_path / "a.tif", SHUFFLE)
    scene(tmp_path / "b.tif", SHUFFLE)
    (tmp_path / "m.csv").write_text(
        'input,bands\na.tif,"3,2,4,1"\nb.tif,4|nir\na.tif,1\nb.tif,","\n', encoding="utf-8"
    )
    rows = [*rows_of_manifest(str(tmp_path / "m.csv"), None)]
    assert [row.bands for row in rows[:3]] == [("3", "2", "4", "1"), ("4", "nir"), ("1",)]
    assert "no list of bands" in str(rows[3].error)
    for bands in ("[3, 2, 4, 1]", '"3,2,4,1"', "[B2, nir]", "nir", "2"):
        text = f"inputs: {{manifest: m.csv}}\nmodel: probe\noutputs: out\noptions: {{bands: {bands}}}\n"
        (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
        workflow = read(tmp_path / "w.yaml")
        expected = tuple(part.strip() for part in bands.strip('[]"').split(","))
        assert workflow.plan_options().bands == expected
        assert type(workflow).model_validate(workflow.to_json()) == workflow
        requests = job_of(workflow).requests
        assert [r.options.bands for r in requests.values()] == [("3", "2", "4", "1"), ("4", "nir")]
    for wrong in ("[]", "true", "[1.5]", "[[1]]", "','"):
        (tmp_path / "w.yaml").write_text(
            f"inputs: a.tif\noutputs: out\noptions: {{bands: {wrong}}}\n", encoding="utf-8"
        )
        with pytest.raises(WorkflowError, match="bands"):
            read(tmp_path / "w.yaml")


def test_evaluation_takes_the_same_bands(tmp_path: Path, straight: np.ndarray) -> None:
    truth = scene(tmp_path / "truth.tif", (0,))
    named = scene(tmp_path / "n.tif", SHUFFLE, tuple(NAMES[k] for k in SHUFFLE))
    plain = scene(tmp_path / "p.tif", SHUFFLE)
    seen: list[np.ndarray] = []
    for path, bands in ((named, None), (plain, (3, 2, 4, 1))):
        card = CARD.model_copy(
            update={
                "classes": tuple(
                    ClassInfo(id=k, name=f"k{k}", colour=(0, 0, 0)) for k in range(200)
                )
            }
        )
        cases = collect_cases(
            Path(f"{path}={truth}"), "all", card, PredictOptions(bands=bands), (7,)
        )
        assert [line.startswith("n: channels are taken by name") for line in cases.warnings] == [
            True
        ] * (path == named)
        with cases.open(cases.cases[0]) as (region, _):
            seen.append(region.read(region.box).values)
    np.testing.assert_array_equal(seen[0], np.moveaxis(VALUES, 0, -1))
    np.testing.assert_array_equal(seen[1], seen[0])


def test_a_training_takes_channels_by_name_too(tmp_path: Path) -> None:
    axes = Axes(channels=CARD.channels)
    named = scene(tmp_path / "n.tif", SHUFFLE, tuple(NAMES[k] for k in SHUFFLE))
    with open_view(named, axes) as view:
        seen = view.read(Box((0, 0), (40, 30))).values
    np.testing.assert_array_equal(seen, np.moveaxis(VALUES, 0, -1))
    wrong = scene(tmp_path / "w.tif", SHUFFLE, ("red", "green", "blue", "swir16"))
    with pytest.raises(InputError, match="none is named as near infrared; name the recipe's"):
        open_view(wrong, axes)


@pytest.mark.full
def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    path = scene(tmp_path / "h.tif", SHUFFLE)
    ran = segbatch("plan", path, "--model", "probe", "--bands", "1,B9")
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert "has no band 'B9'; it has 1 band1, 2 band2, 3 band3, 4 band4" in ran.err
