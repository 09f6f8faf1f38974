"""Descriptions of bioimage.io as others write them, with test tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import ModelCard, make_card
from seg_batch.config.yaml_source import dumped
from seg_batch.conversion.cards.foreign import Foreign
from seg_batch.conversion.cards.opening import opened
from seg_batch.core.errors import InputError
from seg_batch.core.files import sha256

SIDES = (32, 48)


def network(x: np.ndarray) -> np.ndarray:
    """Raw scores ``(1, *sides, 1)``."""
    return np.asarray(np.sin(3 * x) * 2, np.float32)


def description(
    folder: Path, preprocessing: list[dict[str, Any]], **changes: Any
) -> dict[str, Any]:
    """A model of one channel and one class, its test tensors made by ``network`` after z-score and before sigmoid."""
    (folder / "model.onnx").write_bytes(b"network")
    values = np.random.default_rng(3).uniform(0, 255, (1, 1, *SIDES)).astype(np.float32)
    x = (values - values.mean()) / (values.std() + 1e-6)
    np.save(folder / "in.npy", values)
    np.save(folder / "out.npy", 1 / (1 + np.exp(-network(x))))
    space = [
        {"type": "space", "id": "y", "size": SIDES[0]},
        {"type": "space", "id": "x", "size": {"min": 16, "step": 16}},
    ]
    outer = [
        {"type": "space", "id": i, "halo": 4, "size": {"tensor_id": "raw", "axis_id": i}}
        for i in "yx"
    ]
    rdf: dict[str, Any] = {
        "format_version": "0.5.4",
        "type": "model",
        "name": "Nuclei (2D)",
        "authors": [{"name": "A. Person"}],
        "license": "CC-BY-4.0",
        "tags": ["fluorescence", "nuclei"],
        "inputs": [{
            "id": "raw",
            "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["dapi"]}, *space],
            "preprocessing": preprocessing,
            "test_tensor": {"source": "in.npy", "sha256": sha256(folder / "in.npy")},
        }],
        "outputs": [{
            "id": "p",
            "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["nucleus"]}, *outer],
            "postprocessing": [{"id": "sigmoid"}],
            "test_tensor": {"source": "out.npy", "sha256": sha256(folder / "out.npy")},
        }],
        "weights": {"onnx": {"source": "model.onnx", "opset_version": 17}},
    }  # fmt: skip
    return {**rdf, **changes}


ZSCORE = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}]


def read(folder: Path, rdf: dict[str, Any]) -> Foreign:
    (folder / "rdf.yaml").write_text(dumped(rdf))
    with opened(folder) as foreign:
        assert foreign is not None
        return foreign


def as_predictor(x: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-network(x)))
    return np.concatenate([1 - p, p], -1)


def test_a_description_is_read_and_its_test_tensors_come_out(tmp_path: Path) -> None:
    foreign = read(tmp_path, description(tmp_path, ZSCORE))
    card = make_card(**foreign.fields)
    assert (card.name, card.licence, card.modality, card.rank) == (
        "Nuclei-2D",
        "CC-BY-4.0",
        "microscopy",
        2,
    )
    assert [(c.id, c.name) for c in card.classes] == [(0, "background"), (1, "nucleus")]
    assert (card.patch, card.margin, card.overlap) == (SIDES, (4, 4), (8, 8))
    assert (card.normalisation.kind, card.output.gives) == ("source", "logits")
    assert foreign.credits == ("A. Person",)
    assert foreign.example is not None
    result = foreign.example.compare(card, as_predictor)
    result.require_within()
    assert result.largest < 1e-4


def test_another_model_than_the_described_one_is_refused(tmp_path: Path) -> None:
    foreign = read(
        tmp_path, description(tmp_path, [])
    )  # without the steps that the test tensors were made with
    card = ModelCard(**foreign.fields)
    assert card.normalisation.kind == "identity"
    assert foreign.example is not None
    with pytest.raises(InputError, match="does not give the test output"):
        foreign.example.compare(card, as_predictor).require_within()


STEPS: list[tuple[list[dict[str, Any]], Any]] = [
    ([{"id": "scale_linear", "kwargs": {"gain": 0.5, "offset": 1.0}}], lambda v: v / 2 + 1),
    ([{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 9.0, "std": 4.0}}], lambda v: (v - 9) / 4),
    (
        [
            {"id": "clip", "kwargs": {"min": 10.0, "max": 90.0}},
            {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": [0.1], "offset": [-3.0]}},
        ],
        lambda v: np.clip(v, 10, 90) * 0.1 - 3,
    ),
    ([{"id": "scale_range", "kwargs": {"axes": ["y", "x"]}}], lambda v: (v - v.min()) / np.ptp(v)),
    (
        [{"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 2, "max_percentile": 98}},
         {"id": "clip", "kwargs": {"min": 0, "max": 1}}],
        lambda v: np.clip((v - np.percentile(v, 2)) / np.subtract(*np.percentile(v, (98, 2))), 0, 1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "reference"), STEPS)
def test_preprocessing_means_what_numpy_makes_of_it(
    tmp_path: Path, steps: Any, reference: Any
) -> None:
    foreign = read(tmp_path, description(tmp_path, steps))
    card = make_card(**foreign.fields)
    assert foreign.example is not None
    seen, values = foreign.example.normalised(card), foreign.example.input
    np.testing.assert_allclose(seen, reference(values.astype(float)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"id": "scale_range", "kwargs": {"min_percentile": 1, "max_percentile": 99.8}}], "percentiles 1 and 99.8"),
        ([{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "x"]}}], "of each y"),
        ([{"id": "binarize", "kwargs": {"threshold": 3}}], "'binarize' is not known"),
        ([*ZSCORE, {"id": "clip", "kwargs": {"min": -3, "max": 3}}], "follows source"),
        ([{"id": "scale_linear", "kwargs": {"gain": -1.0}}], "factors above 0"),
    ],
)  # fmt: skip
def test_a_step_that_a_card_cannot_hold_is_refused_by_name(
    tmp_path: Path, steps: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, description(tmp_path, steps))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": "0.4.9"}, "0.5 is read"),
        ({"weights": {"pytorch_state_dict": {}}}, "code is never run"),
        ({"weights": {"onnx": {"source": "../other.onnx"}}}, "outside"),
        ({"weights": {"onnx": {"source": "https://example.com/a.onnx"}}}, "nothing is fetched"),
        ({"weights": {"onnx": {"source": "model.onnx", "sha256": "0" * 64}}}, "does not match the hash"),
        ({"inputs": [{"id": "a"}, {"id": "b"}]}, "2 inputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, description(tmp_path, ZSCORE, **changes))


def test_a_changed_test_tensor_is_refused(tmp_path: Path) -> None:
    rdf = description(tmp_path, ZSCORE)
    np.save(tmp_path / "in.npy", np.zeros((1, 1, *SIDES), np.float32))
    with pytest.raises(InputError, match="does not match its hash"):
        read(tmp_path, rdf)


def test_a_pickle_in_place_of_a_test_tensor_is_not_opened(tmp_path: Path) -> None:
    rdf = description(tmp_path, ZSCORE)
    np.save(tmp_path / "in.npy", np.array([{"a": 1}], object), allow_pickle=True)
    rdf["inputs"][0]["test_tensor"] = {"source": "in.npy"}
    with pytest.raises(InputError, match="no array of numbers"):
        read(tmp_path, rdf)
