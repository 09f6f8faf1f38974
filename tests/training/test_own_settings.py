"""Advice goes by what the user says of labels and of held-out parts, in manifests and in settings."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import Recipe
from seg_batch.core.errors import InputError
from seg_batch.datasets.plan import plan_dataset
from seg_batch.evaluation.evaluate import learnt_of
from seg_batch.evaluation.held_out_cases import Learnt, collect_cases
from seg_batch.inference.bundles import Model
from seg_batch.training.measure_dataset import advise_recipe
from tests.support.evaluation.label_files import CARD, scene
from tests.support.training.pairs import bright_scene, volume_recipe, volumes


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return volumes(tmp_path_factory.mktemp("volumes") / "v", 6)


def _manifest(cases: Path, folder: Path, *splits: str | None) -> str:
    rows = [
        {
            "id": f"case_{k}",
            "image": str(cases / f"images/case_{k}.nii.gz"),
            "label": str(cases / f"labels/case_{k}.nii.gz"),
            "split": split,
        }
        for k, split in enumerate(splits)
    ]
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"cases": rows}))
    return str(path)


@pytest.mark.parametrize(("free", "split"), [(2, None), (5, None), (3, "training")])
def test_a_test_part_alone_gets_a_validation_part(
    cases: Path, tmp_path: Path, free: int, split: str | None
) -> None:
    manifest = _manifest(cases, tmp_path, "test", *[split] * free)
    plain, reasons = advise_recipe([manifest])
    assert "hold_out.validation" in {reason.key for reason in reasons}
    parts = plan_dataset([manifest], Recipe.model_validate(plain), None, 1 << 30).split.cases
    assert parts["case_0"] == "test"
    assert sorted(parts.values())[:2] == ["test", "training"]
    assert "validation" in parts.values()


def test_a_part_that_is_named_is_not_advised(cases: Path, tmp_path: Path) -> None:
    manifest = _manifest(cases, tmp_path, "test", "validation", None)
    assert "hold_out" not in advise_recipe([manifest])[0]
    test = _manifest(cases, tmp_path, "test", None, None)
    own = {"hold_out": {"validation": {"cases": ["case_1"]}}}
    assert "hold_out" not in advise_recipe([test], own=own)[0]


def test_few_cases_with_a_split_are_as_large_as_they_are(cases: Path, tmp_path: Path) -> None:
    by_strips = advise_recipe([_manifest(cases, tmp_path, None, None, None)])[0]
    assert by_strips["hold_out"]["test"]["boxes"]
    whole = advise_recipe([_manifest(cases, tmp_path, "test", "validation", None)])[0]
    own = {"hold_out": {"test": {"cases": ["case_0"]}, "validation": {"cases": ["case_1"]}}}
    settings = advise_recipe([_manifest(cases, tmp_path, None, None, None)], own=own)[0]
    assert whole["fit"]["patch"] == settings["fit"]["patch"]
    assert "hold_out" not in settings
    assert math.prod(whole["fit"]["patch"]) > math.prod(by_strips["fit"]["patch"])


def test_the_modality_that_is_said_decides_the_normalisation(cases: Path, tmp_path: Path) -> None:
    manifest = _manifest(cases, tmp_path, "test", "validation", None)
    own = {"card": {"modality": "CT"}}
    assert advise_recipe([manifest], own=own)[0]["card"]["normalisation"] == "ct"
    assert advise_recipe([manifest])[0]["card"]["normalisation"] == "source"


@pytest.mark.parametrize("ignore", [[7], 7])
def test_an_ignored_value_is_no_class(tmp_path: Path, ignore: object) -> None:
    pair, _ = bright_scene(tmp_path)
    assert [c["id"] for c in advise_recipe([pair])[0]["card"]["classes"]] == [1, 7]
    with pytest.raises(InputError, match="hold only the value 1"):
        advise_recipe([pair], own={"cut": {"ignore": ignore}})


def test_what_the_recipe_of_a_bundle_ignores_counts_in_no_score(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    recipe = volume_recipe().changed(cut={"ignore": (5,)})
    model = Model(CARD, tmp_path / "bundle")
    assert learnt_of(model) == Learnt()
    (tmp_path / "bundle/recipe.yaml").write_text(recipe.model_dump_json())
    assert learnt_of(model) == Learnt((5,))
    image, label = scene(tmp_path, "a", 0)
    data = Path(f"{image}={label}")
    held = collect_cases(data, "all", CARD, PredictOptions(), (3.0,), Learnt((5,)))
    assert held.ignore == (3.0, 5)
