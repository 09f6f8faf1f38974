"""The patch of a prediction: what is chosen, against a search of all patches, and what it may not depend on."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

import seg_batch
from seg_batch.config.card import WHOLE_PATCH, Compute, ModelCard
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import NoRoomError, PlanError
from seg_batch.core.geometry import Blocks, Grid, Shape
from seg_batch.core.resources import SAMPLES
from seg_batch.inference.probe import PROBE_CARD
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.sliding_window.grid import automatic, layout_for
from seg_batch.inference.sliding_window.larger_patch import why_not_larger
from seg_batch.inference.sliding_window.patch_choice import cheapest, memory_step, nominal_block
from seg_batch.inference.verify import verify_product

EACH = 100  # bytes of activations per voxel


def card(
    patch: Shape = (64, 48), multiple: int | None = 8, each: int = EACH, **changes: Any
) -> ModelCard:
    plain = PROBE_CARD.model_dump(mode="json")
    made = {
        "rank": len(patch),
        "patch": patch,
        "overlap": tuple(n // 4 for n in patch),
        "multiple": multiple and (multiple,) * len(patch),
        "compute": {"activation_bytes": each * math.prod(patch), "flops": 1e6},
    }
    return ModelCard.model_validate({**plain, **made, **changes})


def computed(extent: Shape, patch: Shape, overlap: Shape, block: Shape) -> int:
    """Voxels that are computed for all blocks, tile by tile."""
    grid = Grid(extent, patch, overlap, (0,) * len(patch))
    return math.prod(patch) * sum(len(list(grid.touching(b.box))) for b in Blocks(extent, block))


@settings(max_examples=40)
@given(
    extent=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    overlap=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    most=st.integers(3072, 60_000),
    voxels=st.sampled_from([5_000, 20_000, 1 << 24]),
)
def test_no_patch_of_the_same_size_computes_fewer_voxels(
    extent: Shape, overlap: Shape, most: int, voxels: int
) -> None:
    of, block = card(), nominal_block(extent, voxels)
    patch, shared = cheapest(extent, of, overlap, (0, 0), block=block, most=most, square=False)
    assert all(n >= least for n, least in zip(patch, (64, 48), strict=True))
    assert patch == (64, 48) or math.prod(patch) <= most
    assert all(s >= o for s, o, n, e in zip(shared, overlap, patch, extent, strict=True) if n < e)
    cost = computed(extent, patch, shared, block)
    assert cost <= computed(extent, (64, 48), overlap, block)
    if (
        voxels == 1 << 24
    ):  # one block: no side of any length does better, but by rounding to whole steps
        sides = (range(least, least + 8 * 40, 8) for least in (64, 48))
        fitting = (p for p in itertools.product(*sides) if math.prod(p) <= max(most, 64 * 48))
        assert cost <= 1.25 * min(computed(extent, p, overlap, block) for p in fitting)


def test_tiles_share_their_overlap_evenly() -> None:
    layout = layout_for((1000, 1000), card(overlap=(8, 8)), PredictOptions(), 4 * EACH * 90_000)
    starts = Grid((1000, 1000), layout.patch, layout.overlap, layout.margin).axes[0].starts
    gaps = np.diff(starts)
    assert len(gaps) > 1
    assert gaps.max() - gaps.min() < len(starts)


def test_a_single_tile_reaches_past_the_extent_by_less_than_a_step() -> None:
    layout = layout_for((203, 101), card(), PredictOptions(), 1 << 30)
    assert layout.patch == (208, 104)


def scene(folder: Path, side: tuple[int, int] = (1100, 1040)) -> str:
    place = {"crs": "EPSG:32612", "transform": rasterio.Affine(30, 0, 3e5, 0, -30, 4.2e6)}
    values = (np.arange(side[0])[:, None] * 31 + np.arange(side[1]) * 7) % 4001
    shape = {"height": side[0], "width": side[1], "count": 1, "dtype": "uint16"}
    with rasterio.open(folder / "scene.tif", "w", driver="GTiff", **shape, **place) as file:
        file.write(values.astype(np.uint16), 1)
    return str(folder / "scene.tif")


def crooked(patches: np.ndarray) -> np.ndarray:
    """Scores that depend on the place in the patch, and on how large it is."""
    places = np.indices(patches.shape[1:-1]).astype(np.float32)
    ramp = sum((k + 1) * p / p.size for k, p in enumerate(places))
    wave = 0.5 + 0.5 * np.sin(patches[..., 0] * 1e-2 + 50 * ramp)
    scores = np.stack([wave * (k + 1) % 1 + 0.01 for k in range(len(PROBE_CARD.classes))], -1)
    return (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


def predict(path: str, output: Path, **options: Any) -> tuple[dict[str, Any], np.ndarray]:
    report = seg_batch.predict(path, output, model=(card((256, 256), each=700), crooked), **options)
    with rasterio.open(output) as file:
        return dict(report["plan"]), file.read()


@pytest.mark.full
def test_neither_blocks_nor_workers_change_patch_or_labels(tmp_path: Path) -> None:
    path = scene(tmp_path)
    plans, maps = zip(
        *(
            predict(path, tmp_path / f"{k}.tif", **options)
            for k, options in enumerate(
                ({"block": (2048, 2048)}, {"block": (1024, 1024), "workers": 2})
            )
        ),
        strict=True,
    )
    assert plans[0]["patch_choice"]["by"] == "auto"
    assert math.prod(plans[0]["patch"]) > 256**2
    assert len({(tuple(p["patch"]), tuple(p["overlap"])) for p in plans}) == 1
    assert all(np.array_equal(m, maps[0]) for m in maps)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": {WHOLE_PATCH: ["pool (global pooling): all"]}}, "sees the whole patch"),
        ({"patch_fixed": "3 % of its labels"}, "3 % of its labels"),
        ({"multiple": None}, "no other sides"),
        ({"compute": Compute()}, "was not measured"),
    ],
)
def test_a_patch_that_is_fixed_stays(changes: dict[str, Any], reason: str) -> None:
    of = card(**changes)
    layout = layout_for((900, 900), of, PredictOptions())
    assert (layout.patch, layout.by) == ((64, 48), "card")
    assert reason in layout.why
    with pytest.raises(PlanError, match=r"takes patches of 64,48 alone") as refused:
        layout_for((900, 900), of, PredictOptions(patch=(128, 128)))
    assert reason in refused.value.message
    assert layout_for((900, 900), of, PredictOptions(patch=(64, 48))).by == "asked"


@pytest.mark.parametrize(
    ("patch", "words"),
    [((100, 48), "use --patch 96,48 or 104,48"), ((64, 64, 64), "2-D, give 2 sides")],
)
def test_a_patch_that_does_not_fit_names_those_that_do(patch: Shape, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        layout_for((900, 900), card(), PredictOptions(patch=patch))


def test_views_that_swap_axes_get_a_square() -> None:
    layout = layout_for((900, 300), card((64, 64)), PredictOptions(tta="d4"))
    assert layout.patch[0] == layout.patch[1]


def of_file(path: str, output: Path, model: Any = None, **options: Any) -> Any:
    request = Request(path, str(output), model or (card((256, 256), each=700), crooked))
    return prepare(Request(**{**vars(request), "options": PredictOptions(**options)})).plan


def test_a_patch_that_needs_too_much_memory_names_one_that_does_not(tmp_path: Path) -> None:
    heavy = card((256, 256), compute={"activation_bytes": 256**2 * 4000, "flops": 1})
    path, small = scene(tmp_path, (900, 900)), 900 << 20
    with pytest.raises(NoRoomError, match="or use --patch") as refused:
        of_file(path, tmp_path / "a.tif", (heavy, crooked), patch=(888, 888), memory_bytes=small)
    named = refused.value.message.rpartition("--patch ")[2]
    fits = tuple(map(int, named.split(",")))
    of_file(path, tmp_path / "a.tif", (heavy, crooked), patch=fits, memory_bytes=small)
    chosen = of_file(path, tmp_path / "a.tif", (heavy, crooked), memory_bytes=small)
    assert chosen.promised_bytes <= small


def test_memory_counts_in_powers_of_two() -> None:
    assert memory_step(7 << 30) == memory_step(4 << 30) == 4 << 30
    assert memory_step((4 << 30) - 1) == 2 << 30
    assert memory_step() & (memory_step() - 1) == 0


def test_a_run_goes_on_with_the_patch_of_its_store(tmp_path: Path) -> None:
    path, output = scene(tmp_path), tmp_path / "map.tif"
    before, labels = predict(path, output, memory_bytes=1 << 30, keep_store=True)
    alone = of_file(path, tmp_path / "other.tif", memory_bytes=4 << 30)
    assert list(before["patch"]) != list(alone.patch)
    assert of_file(path, output, memory_bytes=4 << 30).patch == tuple(before["patch"])
    output.unlink()
    after, again = predict(path, output, memory_bytes=4 << 30)
    assert tuple(after["patch"]) == tuple(before["patch"])
    assert np.array_equal(labels, again)


@pytest.mark.parametrize("overlap", ["card", 0])
def test_a_run_that_an_earlier_version_began_goes_on_with_the_cards_patch(
    tmp_path: Path, overlap: Any
) -> None:
    path, output = scene(tmp_path), tmp_path / "map.tif"
    predict(path, output, patch="card", overlap=overlap)
    report = output.with_suffix(".json")
    report = next(p for p in tmp_path.glob("*.json")) if not report.exists() else report
    facts = json.loads(report.read_text())
    del facts["plan"]["patch_choice"]
    report.write_text(json.dumps(facts))
    asked = {} if overlap == "card" else {"overlap": overlap}
    assert of_file(path, output, **asked).patch == (256, 256)
    assert of_file(path, output, **asked).overlap == ((64, 64) if overlap == "card" else (0, 0))


@pytest.mark.full
def test_verify_makes_the_choice_anew(tmp_path: Path) -> None:
    seg_batch.predict(SAMPLES / "zion_landsat8.tif", tmp_path / "map.tif")
    report = next(tmp_path.glob("*.json"))

    def said() -> dict[str, bool]:
        return {c["name"]: c["ok"] for c in verify_product(tmp_path / "map.tif")["checks"]}

    assert said()["patch"]
    facts = json.loads(report.read_text())
    facts["plan"]["patch"][0] -= 8
    report.write_text(json.dumps(facts))
    assert not said()["patch"]


def local(patches: np.ndarray) -> np.ndarray:
    mean = patches[..., :1] + np.roll(patches[..., :1], 1, axis=1)
    return np.concatenate([mean, -mean], -1)


def whole(patches: np.ndarray) -> np.ndarray:
    value = patches[..., :1] - patches[..., :1].max(axis=(1, 2), keepdims=True) / 2
    return np.concatenate([value, -value], -1)


def test_a_model_that_sees_its_whole_patch_is_found_by_its_labels() -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(90, 110, 1)).astype(np.float32) + np.arange(110)[:, None] / 20]
    assert why_not_larger(local, card(), images) is None
    assert "labels inside a patch" in (why_not_larger(whole, card(), images) or "")


def test_an_overlap_as_long_as_the_cards_patch_is_refused() -> None:
    for overlap in (64, 300):
        with pytest.raises(PlanError, match="leaves no stride in a patch of 64"):
            layout_for((900, 900), card(), PredictOptions(overlap=overlap))
    odd = card((250, 250), multiple=1)
    assert layout_for((900, 900), odd, PredictOptions(overlap=249)).patch[0] >= 250


def test_an_overlap_without_room_for_the_margins_is_refused() -> None:
    with pytest.raises(PlanError, match="use 24 or more"):
        layout_for((900, 900), card(overlap=(24, 24), margin=(12, 12)), PredictOptions(overlap=8))


def test_views_that_swap_axes_of_a_patch_that_is_no_square_keep_it() -> None:
    assert layout_for((40, 50), card(), PredictOptions(tta="d4"), 1 << 20).patch == (64, 48)


@pytest.mark.parametrize("taper", ["hann", "crop"])
def test_what_is_stated_of_a_choice_makes_it_anew(taper: str) -> None:
    of, options = card(margin=(3, 2)), PredictOptions(taper=taper)
    layout = layout_for((900, 700), of, options, 1 << 24)
    stated = layout.choice
    how = options.engine, options.tta, stated["step_bytes"]
    again = automatic(
        (900, 700), of, tuple(stated["least_overlap"]), tuple(stated["least_margin"]), *how
    )
    assert (again.patch, again.overlap) == (layout.patch, layout.overlap)


def test_the_share_of_a_worker_in_a_run_changes_no_patch(tmp_path: Path) -> None:
    path, model = scene(tmp_path), (card((256, 256), each=700), crooked)
    plans = [
        prepare(Request(path, str(tmp_path / "m.tif"), model, options, memory_asked=0)).plan
        for options in (
            PredictOptions(memory_bytes=16 << 30),
            PredictOptions(memory_bytes=3 << 30, workers=4, batch=2),
        )
    ]
    assert plans[0].patch == plans[1].patch
    assert plans[0].patch_choice == plans[1].patch_choice


@pytest.mark.parametrize(
    "choice", [[], "auto", {"by": "auto"}, {"step_bytes": "much"}, {"step_bytes": -1}]
)
def test_a_choice_that_nobody_made_is_none(tmp_path: Path, choice: Any) -> None:
    path, output = scene(tmp_path, (300, 300)), tmp_path / "map.tif"
    predict(path, output, patch="card")
    report = next(tmp_path.glob("*.json"))
    facts = json.loads(report.read_text())
    facts["plan"]["patch_choice"] = choice or "none"
    report.write_text(json.dumps(facts))
    assert of_file(path, output).patch_choice["by"] == "auto"


def test_an_overlap_of_more_than_half_a_patch_stays_that_of_the_card() -> None:
    of = card(overlap=(50, 40))
    for patch in ("card", (64, 48)):
        assert layout_for((900, 900), of, PredictOptions(patch=patch)).overlap == (50, 40)
    assert layout_for((900, 900), of, PredictOptions(patch=(32, 48))).overlap == (16, 40)
