"""A real network that comes with a card of another world, imported, exported, and imported again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import read_card
from seg_batch.config.command_options import ImportOptions
from seg_batch.conversion.export import export, lines
from seg_batch.conversion.import_model import import_model
from seg_batch.core.errors import InputError
from tests.conversion.cards.test_bioimageio import description
from tests.conversion.cards.test_monai import LOAD, RANGE, bundle
from tests.support.nn.onnx_models import convolution, saved

pytestmark = pytest.mark.full  # many networks or whole runs

SIDES = (32, 48)
SCALED = [{"id": "scale_linear", "kwargs": {"gain": 0.01}}]


def scores(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(y)


def nuclei(folder: Path) -> Path:
    """A description of bioimage.io around a convolution of two outputs, with test tensors that it gives."""
    rdf = description(folder, SCALED)
    saved(convolution(), folder / "model.onnx")
    values = np.load(folder / "in.npy")
    y = scores(folder / "model.onnx", values * np.float32(0.01))
    e = np.exp(y - y.max(1, keepdims=True))
    np.save(folder / "out.npy", e / e.sum(1, keepdims=True))
    result = rdf["outputs"][0]
    result["axes"][1]["channel_names"] = ["background", "nucleus"]
    result["postprocessing"] = [{"id": "softmax"}]
    del result["test_tensor"]["sha256"]
    (folder / "rdf.yaml").write_text(json.dumps(rdf))
    return folder


def imported(source: Path, target: Path, **options: Any) -> dict[str, Any]:
    return import_model(source, target, ImportOptions(**options))


def test_test_tensors_are_run_on_import(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    result = imported(nuclei(tmp_path / "source"), tmp_path / "bundle")
    card = read_card(tmp_path / "bundle")
    assert (card.format, card.name, card.output.gives) == ("onnx", "Nuclei-2D", "logits")
    assert card.origin["world"] == "bioimage.io"
    assert card.origin["test"]["largest"] < 1e-4
    assert card.origin["not_carried"] == []
    assert any("largest difference" in note for note in result["notes"])


def test_a_model_that_gives_something_else_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    folder = nuclei(tmp_path / "source")
    np.save(folder / "out.npy", np.load(folder / "out.npy")[:, ::-1])
    with pytest.raises(InputError, match="does not give the test output"):
        imported(folder, tmp_path / "bundle")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


def test_an_option_counts_before_the_document(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    folder = nuclei(tmp_path / "source")
    imported(folder, tmp_path / "bundle", licence="MIT", kind="raster", pixel_m=2.0)
    card = read_card(tmp_path / "bundle")
    assert (card.licence, card.kind, card.pixel_m) == ("MIT", "raster", 2.0)


def test_an_onnx_bundle_is_exported_as_it_is_with_cards_that_are_read_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "source").mkdir()
    imported(nuclei(tmp_path / "source"), tmp_path / "bundle", kind="raster")
    report = export(str(tmp_path / "bundle"), "onnx", tmp_path / "out")
    first = read_card(tmp_path / "bundle")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == (
        tmp_path / "source" / "model.onnx"
    ).read_bytes()
    assert set(report["cards"]) == {"stac", "bioimageio", "monai"}
    assert "volumes" in report["cards"]["monai"]["left_out"]
    assert "rdf.yaml" in lines(report)
    for number, name in enumerate(("rdf.yaml", "stac_mlm.json")):
        target = tmp_path / f"again-{number}"
        imported(tmp_path / "out" / name, target)
        again = read_card(target)
        assert again.weights_sha256 == first.weights_sha256
        assert (again.normalisation, again.output, again.kind) == (first.normalisation, first.output, "raster")  # fmt: skip
    with pytest.raises(InputError, match="several worlds"):
        imported(tmp_path / "out", tmp_path / "none")


def test_a_bundle_of_monai_becomes_one_of_ours(tmp_path: Path) -> None:
    window = {"_target_": "SlidingWindowInferer", "roi_size": [32, 48], "mode": "gaussian"}
    slices = {**window, "_target_": "SliceInferer", "spatial_dim": 2}
    folder = bundle(tmp_path / "b", [*LOAD, RANGE], window=slices)
    saved(convolution(), folder / "models" / "model.onnx")
    result = imported(folder, tmp_path / "bundle")
    card = read_card(tmp_path / "bundle")
    assert (card.rank, card.kind, card.patch) == (2, "volume", (32, 48))
    assert (card.output.blend, card.orientation) == ("logits", "PLS")
    assert any("compared with nothing" in note for note in result["notes"])
    report = export(str(tmp_path / "bundle"), "onnx", tmp_path / "out", cards="monai")
    assert sorted(p.name for p in (tmp_path / "out" / "configs").iterdir()) == ["inference.json", "metadata.json"]  # fmt: skip
    imported(tmp_path / "out", tmp_path / "again")
    again = read_card(tmp_path / "again")
    for key in (
        "orientation",
        "spacing_mm",
        "patch",
        "overlap",
        "taper",
        "padding",
        "output",
        "classes",
    ):
        assert getattr(again, key) == getattr(card, key), key
    assert again.normalisation.mean == pytest.approx(card.normalisation.mean)
    assert "left_out" not in report["cards"]["monai"]


@pytest.mark.parametrize("cards", ["stak", "stac,coco"])
def test_an_unknown_world_is_refused(tmp_path: Path, cards: str) -> None:
    with pytest.raises(InputError, match="is no world"):
        export("landsat8-landcover", "onnx", tmp_path / "out", cards=cards)


def test_a_folder_of_nothing_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match=r"no card of a model \(rdf.yaml"):
        imported(tmp_path / "source", tmp_path / "bundle")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
