"""What a card says of scores, zeros, tiles and views, in whole runs of functions; and folds of one bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from seg_batch.cli.display.lines import plan_lines
from seg_batch.config.card import ModelCard, make_card
from seg_batch.config.card_parts.network import Output
from seg_batch.core.errors import BundleError, StoreError
from seg_batch.evaluation.evaluate import evaluate_bundle
from seg_batch.inference.api.predict import predict
from seg_batch.inference.bundles import Model, model_in, require_intact
from seg_batch.inference.ensemble import as_ensemble
from seg_batch.inference.on_device.rule import FORCED, on_host
from seg_batch.inference.request import Request, prepare
from tests.support.evaluation.label_files import CARD as THIRDS
from tests.support.evaluation.label_files import scene as labelled_scene
from tests.support.evaluation.label_files import thirds
from tests.support.files import write_raster

CLASSES = [{"id": k, "name": f"k{k}"} for k in (0, 4, 9)]
LOGITS = {"gives": "logits", "blend": "logits"}
REGIONS = {**LOGITS, "classes": "independent", "rule": "last"}


def card(**fields: Any) -> ModelCard:
    return make_card(
        **{
            "name": "foreign",
            "kind": "raster",
            "rank": 2,
            "channels": ["a"],
            "classes": CLASSES,
            "patch": [32, 24],
            "overlap": [8, 6],
            "normalisation": {"kind": "card", "mean": [100.0], "std": [50.0]},
            **fields,
        }
    )


def logits(patches: np.ndarray) -> np.ndarray:
    """Depends on the value alone, and goes far beyond 0 to 1; the background's is that of a threshold of a half."""
    value = patches[..., 0]
    return np.stack([np.zeros_like(value), 9 * np.sin(3 * value), 7 * value - 2], -1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = np.random.default_rng(5).integers(1, 200, (1, 90, 70)).astype(np.uint8)
    return write_raster(tmp_path / "scene.tif", values, nodata=None)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()


def normal(scene: Path) -> np.ndarray:
    return (read(scene)[0].astype(np.float32) - 100) / 50


def test_logits_become_probabilities_where_they_are_kept(scene: Path, tmp_path: Path) -> None:
    """The same with views and in a mean of two, which average logits too."""
    made = logits(normal(scene)[None, ..., None])[0]
    model = card(output=LOGITS, padding="zero", taper="nnunet", tiles="even", tta="flips:y")
    shares = np.exp(made - made.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    for name, models in {
        "one": (model, logits),
        "two": [(model, logits), (model.model_copy(update={"name": "b"}), lambda x: 3 * logits(x))],
    }.items():
        out = tmp_path / f"{name}.tif"
        report = predict(scene, out, model=models, probabilities=True)
        assert (report["plan"]["tta"], report["plan"]["taper"]) == ("flips:y", "nnunet")
        assert np.array_equal(read(out)[0], np.array([0, 4, 9])[made.argmax(-1)])
    kept = read(tmp_path / "one_probabilities.tif") / 255
    assert np.abs(kept - np.moveaxis(shares, -1, 0)).max() < 0.6 / 255


def test_regions_take_the_last_class_above_the_threshold(scene: Path, tmp_path: Path) -> None:
    made = logits(normal(scene)[None, ..., None])[0]
    predict(scene, tmp_path / "o.tif", model=(card(output=REGIONS), logits), probabilities=True)
    expected = np.where(made[..., 2] > 0, 9, np.where(made[..., 1] > 0, 4, 0))
    assert np.array_equal(read(tmp_path / "o.tif")[0], expected)
    kept = read(tmp_path / "o_probabilities.tif") / 255
    own = 1 / (1 + np.exp(-made[..., 1:].astype(float)))
    assert np.abs(kept[1:] - np.moveaxis(own, -1, 0)).max() < 0.6 / 255
    assert np.abs(kept[0] - (1 - own.max(-1))).max() < 0.6 / 255


def test_a_run_begun_with_another_output_is_not_gone_on_with(scene: Path, tmp_path: Path) -> None:
    plans = {
        name: prepare(Request(str(scene), str(tmp_path / "o.tif"), (card(**fields), logits))).plan
        for name, fields in {
            "plain": {},
            "logits": {"output": LOGITS},
            "half": {"output": {**REGIONS, "threshold": 0.5}},
            "less": {"output": {**REGIONS, "threshold": 0.4}},
            "zero": {"padding": "zero"},
            "even": {"tiles": "even"},
            "shrink": {"output": {"shrink": [2, 2]}},
            "taper": {"taper": "nnunet"},
        }.items()
    }
    prints = {
        n: json.dumps([p.to_json()["tiling"] if p.tiling else 0, p.taper, p.identity])
        for n, p in plans.items()
    }
    assert len(set(prints.values())) == len(plans)
    assert not {"tiling", "output"} & {*plans["plain"].to_json(), *plans["plain"].identity}
    told = plan_lines(prepare(Request(str(scene), None, (card(output={"shrink": [2, 2]}), logits))))
    assert "32 x 24 of which 28 x 20 is labelled" in told


def test_a_store_goes_on_only_with_what_it_was_begun(scene: Path, tmp_path: Path) -> None:
    def stopping(patches: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    stopping.__qualname__ = logits.__qualname__
    out = tmp_path / "o.tif"
    with pytest.raises(KeyboardInterrupt):
        predict(scene, out, model=(card(output=LOGITS), stopping))
    with pytest.raises(StoreError):
        predict(scene, out, model=(card(output={**REGIONS, "threshold": 0.4}), logits))
    predict(scene, out, model=(card(output=LOGITS), logits))


@pytest.mark.full
def test_scores_are_of_the_probability_of_the_label(tmp_path: Path) -> None:
    """Logits of a model as sure as another one: the same scores, calibration and jumps."""
    image, label = labelled_scene(tmp_path, "a", 1)
    whole = f"{image}={label}"
    twin = THIRDS.model_copy(update={"output": Output(gives="logits", blend="logits")})
    plain = evaluate_bundle((THIRDS, thirds), whole, split="all")
    other = evaluate_bundle((twin, lambda x: 5 + np.log(thirds(x))), whole, split="all")
    assert other["scores"] == plain["scores"]
    error = plain["calibration"]["error"]
    assert other["calibration"]["error"] == pytest.approx(error, abs=1e-4)
    assert other["seams"]["mean_jump"] == pytest.approx(plain["seams"]["mean_jump"], abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"output": LOGITS}, "averages logits"),
        ({"output": {"gives": "logits", "classes": "independent"}}, "independent"),
        ({"padding": "zero"}, "zeros"),
        ({"lead": [2, 2]}, "begin before"),
        ({"output": {"shrink": [2, 2]}}, "smaller than its patch"),
    ],
)
def test_a_gpu_leaves_such_sums_to_the_cpu(
    fields: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORCED, "1")
    assert on_host("tensorflow", [card()], "none", False) is None
    assert said in (on_host("tensorflow", [card(**fields)], "none", False) or "")


def folds(folder: Path, count: int, name: str) -> Model:
    from hashlib import sha256

    folder.mkdir()
    contents = [f"{name} {k}".encode() for k in range(count)]
    digests = [sha256(content).hexdigest() for content in contents]
    for k, content in enumerate(contents):
        (folder / (f"model_{k}.onnx" if k else "model.onnx")).write_bytes(content)
    said = card(format="onnx", weights_sha256=digests[0], folds_sha256=digests[1:], name=name)
    (folder / "card.json").write_text(said.model_dump_json())
    return model_in(folder)


def test_folds_of_a_bundle_are_averaged_and_told_of_once(tmp_path: Path) -> None:
    first, second = folds(tmp_path / "a", 5, "a"), folds(tmp_path / "b", 1, "b")
    assert (first.called, second.called) == ("a (5 folds)", "b")
    both = as_ensemble([first, second])
    assert both.called == "a (5 folds) + b"
    assert [member.weights.name for member in both.all] == [
        "model.onnx",
        *(f"model_{k}.onnx" for k in range(1, 5)),
        "model.onnx",
    ]
    assert as_ensemble([second, first]).called == "b + a (5 folds)"
    assert as_ensemble([first]) is first
    with pytest.raises(BundleError, match="named twice"):
        as_ensemble([first, replace(first)])
    require_intact(both)
    (tmp_path / "a" / "model_3.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model_3\.onnx does not match"):
        require_intact(both)
    (tmp_path / "a" / "model_3.onnx").unlink()
    with pytest.raises(BundleError, match=r"has no model_3\.onnx"):
        require_intact(both)
