"""The advised recipe: it is one, it follows from the facts, and every setting has a reason."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seg_batch.config.recipe import Recipe
from seg_batch.config.recipe.reading import deep_merged
from seg_batch.core.errors import InputError
from seg_batch.datasets.pairs import find_pairs
from seg_batch.datasets.split import resolve_split
from seg_batch.training.autoconfig import (
    CaseFacts,
    DatasetFacts,
    StripStats,
    propose_recipe,
    without_conflicts,
)
from seg_batch.training.autoconfig.classes import colours
from seg_batch.training.measure_dataset import advise_recipe, measure_dataset
from tests.support.files import write_raster, write_volume
from tests.support.training.facts import GIB, case, reasons, recipe_of, scene, volume, warnings
from tests.support.training.recipes import raster_pair


@st.composite
def any_facts(draw: st.DrawFn) -> DatasetFacts:
    raster = draw(st.booleans())
    n, axes = draw(st.integers(1, 12)), 2 if raster else 3
    side = st.integers(9, 3000 if raster else 400)
    values = draw(st.sets(st.integers(0, 254), min_size=2, max_size=30))
    sizes = st.floats(0.1, 20)
    cases = []
    for k in range(n):
        extent = tuple(draw(side) for _ in range(axes))
        voxels = {v: draw(st.integers(1, 10**6)) for v in sorted(values)}
        spacing = None if draw(st.booleans()) else tuple(draw(sizes) for _ in range(axes))
        cases.append(CaseFacts(f"c{k:02}", extent, spacing, voxels, -1000, 500, 10))
    strips = None
    if n < 5:
        least = tuple(map(min, zip(*(c.extent for c in cases), strict=True)))
        parts = min(20, max(least))
        edges = tuple(max(least) * k // parts for k in range(parts + 1))
        each = tuple({v: draw(st.integers(0, 99)) for v in values} for _ in range(parts))
        reach = tuple(map(max, zip(*(c.extent for c in cases), strict=True)))
        strips = StripStats(least.index(max(least)), edges, each, reach)
    memory, gpus = draw(st.integers(1, 512)) * GIB, draw(st.integers(0, 2))
    kind = "raster" if raster else "volume"
    return DatasetFacts(
        kind, ("a",), "int16", True, tuple(cases), memory, draw(st.integers(1, 64)), gpus, strips
    )


@pytest.mark.full
@given(any_facts())
@settings(max_examples=60, deadline=None, phases=[Phase.generate])
def test_whatever_the_facts_the_advice_is_a_recipe_that_can_be_cut_and_trained(
    facts: DatasetFacts,
) -> None:
    plain, why = propose_recipe(facts)
    recipe = Recipe.model_validate(plain)
    multiple = 2 ** (len(recipe.network.filters) - 1)
    for patch in (recipe.fit_patch, recipe.card.patch):
        assert all(side % multiple == 0 for side in patch)
    assert len(recipe.card.classes) == len(facts.voxels)
    assert all(r.why and "\n" not in str(r) for r in why)
    rank = len(facts.extent)
    order = ["SAR".index(letter) for letter in reversed(recipe.card.orientation)][:rank]
    extents = {c.case: tuple(c.extent[a] for a in order) for c in facts.cases}
    gap = (1,) * (rank - recipe.card.rank) + recipe.card.patch
    split = resolve_split(recipe.hold_out, extents, gap)  # raises where a part comes out empty
    if recipe.hold_out.test.boxes:
        for name, extent in extents.items():
            assert {part for part, _ in split.held(name, extent)} <= {"validation", "test"}


def test_every_setting_has_one_reason() -> None:
    for facts in (volume(), volume(3), scene()):
        plain, why = propose_recipe(facts)
        keys = [r.key for r in why if not r.warning]
        leaves = {f"{part}.{key}" for part, settings in plain.items() for key in settings}
        assert leaves - set(keys) == {"card.name", "card.kind", "card.channels"}
        assert not set(keys) - leaves


def test_a_step_fits_in_memory_and_grows_with_the_cores() -> None:
    def voxels(**machine: Any) -> int:
        fit = (recipe := recipe_of(volume(extent=(300, 300, 300), **machine))).fit
        return fit.batch * prod(recipe.fit_patch)

    assert voxels(cores=2) < voxels(cores=8)
    assert voxels(memory_bytes=GIB // 2, cores=8) < voxels(cores=8)
    tight = recipe_of(volume(extent=(300, 300, 300), memory_bytes=GIB, cores=64))
    assert prod(tight.fit_patch) * tight.fit.batch * tight.network.filters[0] * 900 < GIB


def test_two_cores_get_the_recipe_that_the_starter_bundle_was_made_by() -> None:
    cases = (case("a", extent=(35, 50, 35)),) * 9 + (case("z", extent=(45, 56, 42)),)
    recipe = recipe_of(replace(volume(), cases=cases, whole=False))
    assert recipe.card.patch == recipe.cut.patch == (48, 56, 48)
    assert recipe.fit_patch == (32, 40, 32)
    assert recipe.fit.batch == 2
    assert recipe.network.filters == (8, 16, 32, 64)
    assert recipe.card.normalisation == "source"


def test_thick_slices_are_seen_one_by_one_whichever_axis_they_lie_across() -> None:
    extent = {0: (20, 256, 250), 1: (256, 20, 250), 2: (256, 250, 20)}
    for axis, letters in {0: "RAS", 1: "RSA", 2: "ASR"}.items():
        spacing = tuple(5.0 if a == axis else 1.0 for a in range(3))
        recipe = recipe_of(volume(extent=extent[axis], spacing=spacing))
        assert recipe.card.rank == 2
        assert recipe.card.orientation == letters
        assert recipe.card.spacing_mm == (5.0, 1.0, 1.0)
    assert recipe_of(volume(spacing=(2.5, 1.0, 1.0))).card.rank == 3


def test_hounsfield_units_keep_their_scale_and_other_intensities_do_not() -> None:
    assert recipe_of(volume(low=-1024)).card.normalisation == "ct"
    assert recipe_of(volume(low=0, whole=False, modality="CT")).card.normalisation == "ct"
    assert recipe_of(volume(low=-1024, modality="MR")).card.normalisation == "source"
    assert recipe_of(volume(low=-1024, whole=False)).card.normalisation == "source"
    assert recipe_of(volume(low=0)).card.normalisation == "source"
    assert recipe_of(scene()).card.normalisation == "card"


def test_rare_classes_change_loss_and_sampling() -> None:
    common, rare = scene(v1=500, v2=400, v5=100), scene(v1=5000, v2=4000, v5=1)
    assert [t["name"] for t in recipe_of(common).loss.terms] == ["cross_entropy"]
    assert recipe_of(common).sampling.balance == 0
    recipe = recipe_of(rare)
    assert {t["name"] for t in recipe.loss.terms} == {"cross_entropy", "dice"}
    # In turn, each class is asked for once in `classes / balance` samples: that is two batches.
    assert recipe.sampling.balance * recipe.fit.batch / 3 >= 0.5
    assert "0.011 %" in reasons(rare)["loss.terms"].why
    tiny = volume(extent=(300, 300, 300), voxels={0: 10**6, 1: 10})
    assert {t["name"] for t in recipe_of(tiny).loss.terms} == {"dice", "focal"}
    assert recipe_of(tiny).sampling.foreground == 0.5


def test_bodies_are_not_mirrored_and_land_is() -> None:
    assert recipe_of(volume()).augment.flip == ()
    assert recipe_of(scene()).augment.flip == (0, 1)
    assert recipe_of(scene()).augment.quarter_turns == (0, 1)


def test_255_is_a_class_where_it_is_one_of_two() -> None:
    assert [c.id for c in recipe_of(scene(v0=3, v255=7)).card.classes] == [0, 255]
    assert recipe_of(scene(v0=3, v255=7)).cut.ignore == ()
    three = recipe_of(scene(v0=3, v1=4, v255=7))
    assert [c.id for c in three.card.classes] == [0, 1]
    assert three.cut.ignore == (255,)


def test_0_is_background_in_volumes_and_where_it_prevails() -> None:
    assert recipe_of(volume()).background == 0
    assert recipe_of(scene(v0=9, v1=1)).background == 0
    assert recipe_of(scene(v0=2, v1=8)).background is None


@pytest.mark.parametrize("n", [2, 7, 16, 60, 200])
def test_colours_differ_and_none_is_black(n: int) -> None:
    found = colours(n)
    assert len(set(found)) == n
    assert (0, 0, 0) not in found


def test_strips_are_held_out_where_the_classes_are_like_the_whole() -> None:
    facts = scene((8000, 600))  # so long that gaps hardly count
    assert facts.strips is not None
    even, odd = {1: 500, 2: 400, 5: 100}, iter([1, 1, 2, 2, 2, 2, 1, 1, 1, 5])
    alike = (2, 3, 4, 5, 8, 9, 14, 15, 16, 17)  # the others only make up for one another
    voxels = tuple(even if k in alike else {next(odd): 1000} for k in range(20))
    hold_out = recipe_of(replace(facts, strips=replace(facts.strips, voxels=voxels))).hold_out
    (test,), (validation,) = hold_out.test.boxes, hold_out.validation.boxes
    edges = facts.strips.edges
    covered = [k for k in range(20) if test[0][0] <= edges[k] and edges[k + 1] <= test[1][0]]
    assert len(covered) == 4
    assert all(voxels[k] is even for k in covered)
    seen = [k for k in range(20) if validation[0][0] <= edges[k] < validation[1][0]]
    assert len(seen) == 2
    assert not set(seen) & set(covered)


def test_a_class_in_one_strip_only_is_warned_of() -> None:
    facts = scene((2000, 600))
    assert facts.strips is not None
    voxels = tuple({1: 5, 2: 5, 5: 9 * (k == 0)} for k in range(20))
    facts = replace(facts, strips=replace(facts.strips, voxels=voxels))
    assert any("class 5" in text for text in warnings(facts))


def test_numbered_pictures_are_held_out_as_one_run() -> None:
    one = replace(scene().cases[0], spacing=None)
    facts = replace(
        scene(), strips=None, cases=tuple(replace(one, case=f"{k:02}") for k in range(20))
    )
    hold_out = recipe_of(facts).hold_out
    assert hold_out.test.cases == ("16", "17", "18", "19")
    assert hold_out.validation.cases == ("00", "01")
    named = replace(facts, cases=tuple(replace(c, case=f"s{c.case}") for c in facts.cases))
    assert recipe_of(named).hold_out.test.every == 5


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="only the value 0"):
        propose_recipe(volume(voxels={0: 100}))


def test_own_settings_replace_a_held_out_part_whole() -> None:
    plain, _ = propose_recipe(volume())
    for own in (
        {"hold_out": {"test": {"cases": ["case_03"]}}},
        {"hold_out": {"folds": {"count": 5}}},
        {"fit": {"patch": [40, 56, 40]}},
    ):
        recipe = Recipe.model_validate(deep_merged(without_conflicts(plain, own), own))
        assert recipe.hold_out.test.every == (0 if "hold_out" in own else 5)
    assert plain == propose_recipe(volume())[0], "the advice itself is left as it is"


def test_facts_are_those_of_the_files(tmp_path: Path) -> None:
    pair = raster_pair(tmp_path, (150, 130))
    facts = measure_dataset(find_pairs([pair]).pairs)
    label = pair.partition("=")[2]
    import rasterio

    with rasterio.open(label) as file:
        values, counts = np.unique(file.read(1), return_counts=True)
    expected = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert facts.voxels == expected
    assert facts.strips is not None
    assert {k: sum(s.get(k, 0) for s in facts.strips.voxels) for k in expected} == expected
    assert facts.strips.axis == 0
    with rasterio.open(label) as file:
        top = file.read(1)[: facts.strips.edges[1]]
    assert dict(facts.strips.voxels[0]) == dict(
        zip(*(a.tolist() for a in np.unique(top, return_counts=True)), strict=True)
    )


def test_spacing_is_in_the_order_of_the_view(tmp_path: Path) -> None:
    """A volume stored with its coarse axis first: the facts are of RAS, z last in the file's order."""
    affine = np.array([[0, 2, 0, 0], [0, 0, 3, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    image = np.arange(8 * 9 * 10).reshape(8, 9, 10).astype(np.int16)
    write_volume(tmp_path / "i.nii", image, affine)
    write_volume(tmp_path / "l.nii", (image % 2).astype(np.uint8), affine)
    facts = measure_dataset(find_pairs([f"{tmp_path}/i.nii={tmp_path}/l.nii"]).pairs)
    assert facts.extent == (8, 10, 9)
    assert facts.spacing == pytest.approx((5, 3, 2))


@pytest.mark.parametrize(
    ("dtype", "step", "word"), [("float32", 0.5, "whole"), ("uint16", 1, "256")]
)
def test_labels_that_are_none_are_refused(
    tmp_path: Path, dtype: str, step: float, word: str
) -> None:
    values = (np.arange(400).reshape(1, 20, 20) * step).astype(dtype)
    image = write_raster(tmp_path / "i.tif", values.astype("uint16"))
    label = write_raster(tmp_path / "l.tif", values)
    with pytest.raises(InputError, match=word):
        advise_recipe([f"{image}={label}"])


def test_a_manifest_names_the_classes(tmp_path: Path) -> None:
    image, _, label = raster_pair(tmp_path, (150, 130)).partition("=")
    table = "".join(f"  - {{id: {k}, name: kind {k}, colour: [{k}, 2, 3]}}\n" for k in (1, 3, 7))
    text = f"cases:\n  - {{id: a, image: {image}, label: {label}}}\nclasses:\n{table}"
    (tmp_path / "set.yaml").write_text(text)
    plain, why = advise_recipe([str(tmp_path / "set.yaml")])
    assert [c["name"] for c in plain["card"]["classes"]] == ["kind 1", "kind 3", "kind 7"]
    assert "card.classes" not in {r.key for r in why}


def test_few_volumes_get_a_patch_of_their_own_shape() -> None:
    brats = volume(3, extent=(155, 240, 240))
    edges = tuple(240 * k // 20 for k in range(21))
    strips = StripStats(1, edges, ({0: 9, 1: 3},) * 20, (155, 240, 240))
    whole = recipe_of(replace(brats, split_given=True)).fit_patch
    assert recipe_of(replace(brats, strips=strips)).fit_patch == whole
    assert max(whole) <= 2 * min(whole)
