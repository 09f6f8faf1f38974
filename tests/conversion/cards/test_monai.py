"""Bundles of MONAI as its model zoo has them: recognised by name, transform by transform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_batch.config.card import ModelCard, make_card
from seg_batch.conversion.cards.foreign import Foreign
from seg_batch.conversion.cards.opening import opened
from seg_batch.core.errors import InputError
from seg_batch.core.normalise import Pixels

METADATA = {
    "name": "Spleen CT",
    "authors": "Some team",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": 1,
                "spatial_shape": [96, 96, 64],
                "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "format": "segmentation",
                "num_channels": 2,
                "channel_def": {"0": "background", "1": "spleen"},
            }
        },
    },
}
LOAD: list[dict[str, Any]] = [
    {"_target_": "LoadImaged", "keys": "@image_key"},
    {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
    {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "LPS"},
    {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@sizes#fine", "mode": "bilinear"},
]
RANGE = {
    "_target_": "monai.transforms.ScaleIntensityRanged",
    "keys": ["image"],
    "a_min": -57,
    "a_max": 164,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}
AFTER = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "$@preprocessing"},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"},
]
WINDOW = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [96, 96, 64],
    "overlap": 0.625,
    "mode": "gaussian",
    "device": "$torch.device('cpu')",
}


def bundle(
    folder: Path,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]] = AFTER,
    *,
    window: dict[str, Any] = WINDOW,
    outputs: dict[str, Any] | None = None,
) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "models" / "model.onnx").write_bytes(b"network")
    data = json.loads(json.dumps(METADATA))
    data["network_data_format"]["outputs"]["pred"] |= outputs or {}
    (folder / "configs" / "metadata.json").write_text(json.dumps(data))
    inference = {
        "imports": ["$import glob"],
        "image_key": "image",
        "sizes": {"fine": [1.5, 2, 3]},
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "inferer": window,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "run": ["$@evaluator.run()"],
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    return folder


def read(folder: Path) -> Foreign:
    with opened(folder) as foreign:
        assert foreign is not None
        return foreign


def card_of(folder: Path, *args: Any, **kwargs: Any) -> ModelCard:
    return make_card(**read(bundle(folder / "bundle", *args, **kwargs)).fields)


def test_a_bundle_is_read_with_its_axes_window_and_numbers(tmp_path: Path) -> None:
    foreign = read(
        bundle(tmp_path / "b", [*LOAD, RANGE, {"_target_": "EnsureTyped", "keys": "image"}])
    )
    card = make_card(**foreign.fields)
    # The tensor of MONAI runs to L, P, S from its first axis on; the letters of a card are those of x, y, z.
    assert (card.orientation, card.spacing_mm) == ("SPL", (1.5, 2.0, 3.0))
    assert (card.patch, card.overlap) == ((96, 96, 64), (60, 60, 40))
    assert (card.taper, card.padding, card.modality) == ("gaussian", "zero", "CT")
    assert (card.resampling.up, card.resampling.down, card.resampling.tolerance) == (
        "linear",
        "linear",
        0,
    )
    assert (card.output.gives, card.output.blend, card.background) == ("logits", "logits", 0)
    assert (card.channels or ())[0].quantity == "HU"
    assert foreign.credits == ("Some team",)
    values = np.linspace(-300, 300, 50, dtype=np.float32)[:, None]
    normaliser = card.normalisation.normaliser()
    assert normaliser is not None
    expected = np.clip((values + 57) / (164 + 57), 0, 1)
    np.testing.assert_allclose(normaliser(Pixels(values)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([{"_target_": "NormalizeIntensityd"}], "source"),
        ([{"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True}], "nonzero"),
        ([{"_target_": "ScaleIntensityd"}, {"_target_": "NormalizeIntensityd"}], "source"),
        ([{"_target_": "ScaleIntensityd"}], "range"),
        ([{"_target_": "NormalizeIntensityd", "subtrahend": 4, "divisor": [2.0]}], "card"),
    ],
)
def test_intensities_become_the_scheme_of_a_card(
    tmp_path: Path, steps: list[dict[str, Any]], kind: str
) -> None:
    card = card_of(tmp_path, [*LOAD, *({"keys": "image", **step} for step in steps)])
    assert card.normalisation.kind == kind


def test_sigmoids_are_classes_of_their_own_beside_a_background(tmp_path: Path) -> None:
    after = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4},
    ]
    outputs = {"num_channels": 3, "channel_def": {"0": "core", "1": "whole", "2": "edge"}}
    card = card_of(tmp_path, [*LOAD, RANGE], after, outputs=outputs)
    assert [c.name for c in card.classes] == ["background", "core", "whole", "edge"]
    assert (card.output.classes, card.output.threshold, card.background) == ("independent", 0.4, 0)


def test_slices_along_the_last_axis_are_a_2d_model(tmp_path: Path) -> None:
    window = {"_target_": "SliceInferer", "roi_size": [64, 80], "spatial_dim": 2}
    card = card_of(tmp_path, [*LOAD, RANGE], window=window)
    assert (card.rank, card.kind, card.patch) == (2, "volume", (64, 80))
    assert (card.orientation, card.spacing_mm) == ("PLS", (3.0, 1.5, 2.0))


IMAGE = {"keys": "image"}
REFUSED: list[tuple[list[dict[str, Any]], list[dict[str, Any]], str]] = [
    ([{"_target_": "Resized", **IMAGE}], [], "'Resized' is not known"),
    ([{"_target_": "os.system", **IMAGE}], [], "'os.system' is not known"),
    ([{"_target_": "scripts.mine.Zoomd", **IMAGE}], [], "'scripts.mine.Zoomd' is not known"),
    ([{**RANGE, "a_min": "$-57"}], [], "is an expression, and code is never run"),
    ([{**RANGE, "a_min": "%other.json::a"}], [], "in another place or file"),
    ([{**RANGE, "a_min": "@nowhere#a"}], [], "leads nowhere"),
    ([{**RANGE, "a_max": -99}], [], "do not rise"),
    ([RANGE, {"_target_": "NormalizeIntensityd", **IMAGE}], [], "follows a clip"),
    ([{"_target_": "ScaleIntensityd", **IMAGE, "minv": -1}], [], "from -1 to 1"),
    ([], [{"_target_": "Lambdad", "func": "$lambda x: x"}], "'Lambdad' is not known"),
    ([], [{"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}], "no sigmoid"),
]


@pytest.mark.parametrize(("before", "after", "message"), REFUSED)
def test_what_is_not_known_is_refused_by_name(
    tmp_path: Path, before: Any, after: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(bundle(tmp_path / "b", [*LOAD, *before], after or AFTER))


def test_without_an_orientation_the_axes_are_those_of_each_file_x_first(tmp_path: Path) -> None:
    card = card_of(tmp_path, [LOAD[0], LOAD[1], LOAD[3], RANGE])
    assert (card.orientation, card.spacing_mm) == ("stored:2,1,0", (1.5, 2.0, 3.0))


def test_channels_that_no_network_has_are_not_counted(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", [*LOAD, RANGE])
    path = folder / "configs" / "metadata.json"
    path.write_text(path.read_text().replace('"num_channels": 1', '"num_channels": 100000000'))
    with pytest.raises(InputError, match="from 1 to 1024"):
        read(folder)


@pytest.mark.parametrize("way", ["@image_key#x", "@preprocessing#transforms#0", "@sizes#fine"])
def test_circles_through_parts_are_refused(tmp_path: Path, way: str) -> None:
    folder = bundle(tmp_path / "b", [*LOAD, RANGE])
    path = folder / "configs" / "inference.json"
    config = json.loads(path.read_text())
    said = {"image_key": way, "preprocessing": way, "sizes": {"fine": way}}
    path.write_text(json.dumps({**config, **said}))
    with pytest.raises(InputError, match="lead in a circle"):
        read(folder)


def test_references_in_a_circle_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", [*LOAD, RANGE])
    path = folder / "configs" / "inference.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "sizes": {"fine": "@sizes#fine"}}))
    with pytest.raises(InputError, match="circle"):
        read(folder)
