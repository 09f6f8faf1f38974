"""Items of STAC as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seg_batch.config.card import make_card
from seg_batch.conversion.cards.opening import opened
from seg_batch.core.errors import InputError

BANDS = {
    "B04": {"eo:common_name": "red", "eo:center_wavelength": 0.665},
    "B05": {"eo:common_name": "rededge", "eo:center_wavelength": 0.704},
    "B06": {"eo:common_name": "rededge", "eo:center_wavelength": 0.74},
    "B8A": {"eo:common_name": "nir08", "eo:center_wavelength": 0.865, "nodata": 0},
}


def item(**changes: Any) -> dict[str, Any]:
    """An item of four bands and three classes; ``changes`` to its input and output by ``input__key``."""
    entries: dict[str, dict[str, Any]] = {
        "input": {
            "name": "image",
            "bands": list(BANDS),
            "input": {
                "shape": [-1, 4, 128, 96],
                "dim_order": ["batch", "bands", "height", "width"],
                "data_type": "float32",
            },
            "value_scaling": [
                {"type": "z-score", "mean": 1000.0 + k, "stddev": 300.0} for k in range(4)
            ],
        },
        "output": {
            "name": "scores",
            "tasks": ["semantic-segmentation"],
            "result": {
                "shape": [-1, 3, 128, 96],
                "dim_order": ["batch", "class", "height", "width"],
                "data_type": "float32",
            },
            "classification:classes": [
                {"value": 0, "name": "background"},
                {"value": 7, "name": "open_water", "title": "open water", "color_hint": "0080FF"},
                {"value": 9, "name": "ice"},
            ],
        },
    }
    about: dict[str, Any] = {}
    for key, value in changes.items():
        side, _, name = key.partition("__")
        entries.get(side, about)[name] = value
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.5.0/schema.json"],
        "id": "water-1",
        "geometry": None,
        "properties": {
            "mlm:name": "Water of Sentinel 2",
            "mlm:architecture": "U-Net",
            "mlm:tasks": ["semantic-segmentation"],
            "mlm:input": [entries["input"]],
            "mlm:output": [entries["output"]],
            "bands": [{"name": name, **band} for name, band in BANDS.items()],
            "gsd": 20,
            "providers": [{"name": "somebody"}],
            **about,
        },
        "assets": {
            "weights": {
                "href": "https://example.com/models/water.onnx",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
            }
        },
    }


def read(folder: Path, document: dict[str, Any]) -> Any:
    path = folder / "water.json"
    path.write_text(json.dumps(document))
    (folder / "water.onnx").write_bytes(b"network")
    with opened(path) as foreign:
        return foreign


def test_an_item_is_read_with_its_bands_scaling_and_classes(tmp_path: Path) -> None:
    foreign = read(tmp_path, item())
    card = make_card(**foreign.fields)
    assert (card.name, card.kind, card.rank, card.patch) == (
        "Water-of-Sentinel-2",
        "raster",
        2,
        (128, 96),
    )
    assert card.channel_names == ("B04", "B05", "B06", "B8A")
    aliases = [channel.aliases for channel in card.channels or ()]
    assert aliases == [("red",), ("rededge071",), ("rededge075",), ("nir08",)]
    assert card.normalisation.mean == (1000.0, 1001.0, 1002.0, 1003.0)
    assert [(c.id, c.name) for c in card.classes] == [
        (0, "background"),
        (7, "open water"),
        (9, "ice"),
    ]
    assert card.classes[1].colour == (0, 128, 255)
    assert (card.background, card.pixel_m, card.architecture["arch"]) == (0, 20, "U-Net")
    assert foreign.model == tmp_path / "water.onnx"
    assert foreign.fields["tensors"] == {"layout": "channels_first"}
    assert any("providers" in sentence for sentence in foreign.not_carried)
    assert any("nodata of B8A" in sentence for sentence in foreign.not_carried)


@pytest.mark.parametrize(
    ("step", "mean", "std", "low"),
    [
        ({"type": "min-max", "minimum": 10, "maximum": 60}, 10, 50, None),
        ({"type": "scale", "value": 255}, 0, 255, None),
        ({"type": "offset", "value": 5}, 5, 1, None),
        ({"type": "clip", "minimum": 0, "maximum": 2}, 0, 1, 0),
    ],
)
def test_one_scaling_is_that_of_all_bands(
    tmp_path: Path, step: dict[str, Any], mean: float, std: float, low: float | None
) -> None:
    numbers = make_card(**read(tmp_path, item(input__value_scaling=[step])).fields).normalisation
    assert (numbers.kind, numbers.mean, numbers.std) == ("card", (mean,) * 4, (std,) * 4)
    assert numbers.low == (None if low is None else (low,) * 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input__pre_processing_function": {"format": "python", "expression": "os:system"}}, "code is never run"),
        ({"input__value_scaling": [{"type": "processing", "expression": "A * 2"}]}, "none that is known"),
        ({"input__value_scaling": [{"type": "z-score", "mean": 0, "stddev": 0}]}, "above 0"),
        ({"input__value_scaling": [{"type": "z-score", "mean": "x", "stddev": 1}]}, "a finite number"),
        ({"input__bands": ["B04", "B04", "B05", "B06"]}, "twice"),
        ({"input__bands": ["B04"]}, "names 1 bands"),
        ({"input__resize_type": "crop"}, "resized"),
        ({"output__post_processing_function": {"format": "python", "expression": "m:vote"}}, "none of softmax"),
        ({"output__classification:classes": [{"value": 0, "name": "all"}]}, "two classes"),
        ({"about__mlm:tasks": ["classification"]}, "only semantic segmentation"),
        ({"input__input": {"shape": [-1, 10**12, 64, 64], "dim_order": ["batch", "bands", "height", "width"]}, "input__bands": []}, "up to 1024"),
        ({"about__mlm:input": []}, "0 inputs"),
        ({"about__mlm:input": 3}, "a list"),
    ],
)  # fmt: skip
def test_what_a_card_cannot_do_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, item(**changes))
    assert "\n" not in caught.value.message


def test_a_softmax_after_the_network_makes_its_scores_logits(tmp_path: Path) -> None:
    softmax = {"format": "python", "expression": "torch.nn.functional:softmax"}
    fields = read(tmp_path, item(output__post_processing_function=softmax)).fields
    assert fields["output"] == {"gives": "logits"}
    assert "output" not in read(tmp_path, item()).fields  # the first run tells


def test_a_model_that_is_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(json.dumps(item()))
    with pytest.raises(InputError, match="nothing is fetched"), opened(tmp_path / "item.json"):
        pass
