"""A model on held-out data: through the stitcher of predict, from datasets and from manifests."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from seg_batch.config.card_parts.channels import Channel
from seg_batch.config.predict_options import PredictOptions
from seg_batch.config.recipe import Recipe
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.evaluation.score import score, scores_of
from tests.support.evaluation.label_files import CARD, IDS, labels, scene, thirds

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

MODEL = (CARD, thirds)
TEST_BOX = ((10, 62), (74, 122))


def manifest(folder: Path, splits: dict[str, str | None]) -> Path:
    """Cases with another seed each, in the order of their names."""
    cases = []
    for seed, (name, split) in enumerate(splits.items()):
        image, label = scene(folder, name, seed)
        cases.append({"id": name, "image": image.name, "label": label.name, "split": split})
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"cases": cases}))
    return path


def confusion(seed: int, box: Any = ((0, 0), (90, 130))) -> np.ndarray:
    (a, b), (c, d) = box
    truth, found = (x[a:c, b:d] for x in labels((90, 130), seed))
    return np.array([[((truth == t) & (found == f)).sum() for f in IDS] for t in IDS])


def test_a_manifest_is_scored_by_its_split(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"a": "test", "b": "training", "c": "test", "d": "validation"})
    result = evaluate_bundle(MODEL, path, output=tmp_path / "out")
    assert result["scores"]["cases"] == ["a", "c"]
    expected = confusion(0) + confusion(2)
    assert result["scores"]["confusion"] == expected.tolist()
    everything = evaluate_bundle(MODEL, path, split="all")
    assert everything["scores"]["cases"] == ["a", "b", "c", "d"]
    assert not list(tmp_path.glob(".out*"))


def test_calibration_and_seams_are_counted_while_predicting(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"a": "test", "b": "test"})
    result = evaluate_bundle(MODEL, path)
    total = confusion(0) + confusion(1)
    accuracy = np.trace(total) / total.sum()
    assert result["calibration"]["error"] == pytest.approx(abs(accuracy - 0.8), abs=1e-4)
    assert sum(b["voxels"] for b in result["calibration"]["bins"]) == total.sum()
    calls = itertools.count()

    def seamy(patches: np.ndarray) -> np.ndarray:
        return np.roll(thirds(patches), next(calls) % 3, axis=-1)

    hard = PredictOptions(
        taper="constant"
    )  # a taper that falls to zero leaves nothing at a tile's border
    worse = evaluate_bundle((CARD, seamy), path, options=hard)["seams"]
    for name in ("index", "jump"):
        assert 0.5 < result["seams"][name] < 1.5 < worse[name]


def test_a_card_tells_what_a_manifest_without_splits_held_out(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"a": None, "b": None, "c": None})
    boxes = {"b": {"test": [TEST_BOX], "validation": []}}
    split = {"cases": {"a": "training", "b": "boxes", "c": "test"}, "boxes": boxes}
    card = CARD.model_copy(update={"split": split})
    result = evaluate_bundle((card, thirds), path)
    assert result["scores"]["cases"] == ["b", "c"]
    expected = confusion(1, TEST_BOX) + confusion(2)
    assert result["scores"]["confusion"] == expected.tolist()
    assert [line for line in result["warnings"] if "does not beat" not in line] == []
    with pytest.raises(InputError, match="no case with the split validation"):
        evaluate_bundle((card, thirds), path, split="validation")
    leaky = evaluate_bundle((card, thirds), path, split="all")
    assert "was trained on 2 of these cases (a, b)" in leaky["warnings"][0]


def test_a_box_that_the_image_does_not_have_is_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"a": None})
    boxes = {"a": {"test": [((0, 0), (500, 10))]}}
    card = CARD.model_copy(update={"split": {"cases": {"a": "boxes"}, "boxes": boxes}})
    with pytest.raises(InputError, match="another image of that name"):
        evaluate_bundle((card, thirds), path)


def recipe() -> Recipe:
    drafted = CARD.model_dump(
        include={"name", "kind", "rank", "channels", "classes", "patch", "overlap"}
    )
    return Recipe.model_validate(
        {
            "card": {**drafted, "normalisation": "identity"},
            "cut": {"patch": [32, 32], "overlap": [8, 8]},
            "hold_out": {"test": {"boxes": [TEST_BOX]}, "gap": 0},
        }
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    pairs = ["{}={}".format(*scene(folder, name, seed)) for seed, name in enumerate("ab")]
    make_patches(pairs, folder / "set.zarr", recipe(), cluster="inline")
    return folder / "set.zarr"


def test_a_dataset_gives_the_same_numbers_to_evaluate_and_to_train(dataset: Path) -> None:
    expected = confusion(0, TEST_BOX) + confusion(1, TEST_BOX)
    regions = PatchSet(dataset).held("test")
    np.testing.assert_array_equal(score(regions, CARD, thirds).total, expected)
    table = scores_of(regions, CARD, thirds)
    result = evaluate_bundle(MODEL, dataset)
    for found in (table, result["scores"]):
        assert found["confusion"] == expected.tolist()
        assert found["overall"] == table["overall"]
    assert table["calibration"] == result["calibration"]
    assert table["seams"] == result["seams"]
    json.dumps(table, allow_nan=False)


def test_a_bundle_that_was_trained_on_what_another_dataset_holds_out_is_told_of(
    dataset: Path,
) -> None:
    names, box = ("a_image", "b_image"), {"test": [((0, 62), (90, 122))], "validation": []}
    for cases, boxes, leaks in (
        (("training", "boxes"), {"b_image": box}, ["1 of these cases (a_image)"]),
        (("training", "boxes"), {}, ["2 of these cases (a_image, b_image)"]),
        (("boxes", "boxes"), dict.fromkeys(names, box), []),
        (("test", "test"), {}, []),
    ):
        split = {"cases": dict(zip(names, cases, strict=True)), "boxes": boxes}
        model = (CARD.model_copy(update={"split": split}), thirds)
        warnings = evaluate_bundle(model, dataset)["warnings"]
        assert len(warnings) == len(leaks)
        assert all(leak in text for leak, text in zip(leaks, warnings, strict=True))


def test_values_to_ignore_are_those_that_a_dataset_was_cut_with(dataset: Path) -> None:
    with pytest.raises(InputError, match="--ignore can't change them"):
        evaluate_bundle(MODEL, dataset, ignore=[3])


def test_means_go_by_the_background_of_the_card(dataset: Path) -> None:
    regions = PatchSet(dataset).held("test")
    for background, left_out in ((None, []), (7, [2])):
        card = CARD.model_copy(update={"background": background})
        scored = score(regions, card, thirds)
        expected = np.delete(scored.dice, left_out).mean()
        assert scored.mean_dice_of_true == pytest.approx(expected)
        for table in (
            scores_of(regions, card, thirds),
            evaluate_bundle((card, thirds), dataset)["scores"],
        ):
            assert table["overall"]["mean_dice"]["mean"] == pytest.approx(expected, abs=1e-4)


class Shares(Callback):
    def __init__(self) -> None:
        self.planned, self.shares = 0, list[float]()

    def on(self, event: events.Event) -> None:
        if isinstance(event, events.StepsPlanned):
            self.planned += event.total
        elif isinstance(event, events.Advanced):
            self.shares.append(event.n)


def test_shares_of_the_work_sum_to_its_cases(dataset: Path) -> None:
    heard = Shares()
    result = evaluate_bundle(MODEL, dataset, callback=heard)
    assert heard.planned == len(result["cases"]) > 0
    assert sum(heard.shares) == pytest.approx(heard.planned)
    assert min(heard.shares) >= 0


def test_a_dataset_of_another_model_is_refused(dataset: Path) -> None:
    other = CARD.model_copy(update={"channels": (Channel(name="other"),)})
    with pytest.raises(InputError, match="other channels"):
        evaluate_bundle((other, thirds), dataset)
    fewer = CARD.model_copy(update={"classes": CARD.classes[:2]})
    with pytest.raises(InputError, match="other classes"):
        evaluate_bundle((fewer, thirds), dataset)
    wide = CARD.model_copy(update={"patch": (128, 128)})
    with pytest.raises(InputError, match="keeps too little around"):
        evaluate_bundle((wide, thirds), dataset)
    with pytest.raises(InputError, match="holds nothing out for validation"):
        evaluate_bundle(MODEL, dataset, split="validation")
    with pytest.raises(InputError, match="--split 'tets'"):
        evaluate_bundle(MODEL, dataset, split="tets")


def test_a_case_that_can_not_be_scored_is_named_before_any_prediction(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"a": "test", "b": "test"})
    narrow = CARD.model_copy(update={"classes": CARD.classes[:2]})

    def never(patches: np.ndarray) -> np.ndarray:
        raise AssertionError("predicted before all cases were looked at")

    with pytest.raises(InputError, match=r"a_label\.tif has values that are no class \(7"):
        evaluate_bundle((narrow, never), path)
    (tmp_path / "b_label.tif").unlink()
    with pytest.raises(InputError, match=r"b_label\.tif"):
        evaluate_bundle((CARD, never), path)
