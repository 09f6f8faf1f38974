"""The card: what it refuses, in one line, and that it comes back from JSON as it went in."""

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seg_batch
from seg_batch.config.card import SCHEMA, Border, ClassInfo, ModelCard, parse_card, read_card
from seg_batch.core.errors import BundleError

BUNDLES = Path(seg_batch.__file__).parent / "data" / "bundles"
BORDER = {"reach": [3, 4], "overlap": [8, 8], "margin": [3, 4]}
NUMBERS = {"mean": [9000.0, 100.0], "std": [300.0, 2.0]}


def card(**changes: Any) -> dict[str, Any]:
    classes = [{"id": i, "name": f"class {i}", "colour": [i, 0, 255]} for i in range(3)]
    return {
        "schema_version": SCHEMA,
        "name": "two-bands",
        "kind": "raster",
        "rank": 2,
        "channels": ["red", "nir"],
        "classes": classes,
        "patch": [64, 64],
        "overlap": [16, 16],
        "margin": [4, 4],
        "normalisation": {"kind": "card", **NUMBERS},
        **changes,
    }


def normalisation(**changes: Any) -> dict[str, Any]:
    return {"kind": "card", **NUMBERS, **changes}


numbers = st.floats(-1e9, 1e9)


@pytest.mark.full
@given(
    mean=st.tuples(numbers, numbers),
    std=st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9)),
    below=st.none() | numbers,
    scores=st.dictionaries(st.text(max_size=5), numbers, max_size=3),
    description=st.text(max_size=20),
)
def test_a_card_comes_back_from_json_as_it_went_in(
    mean: Any, std: Any, below: float | None, scores: Any, description: str
) -> None:
    given_card = ModelCard.model_validate(
        card(
            normalisation={
                "kind": "card",
                "mean": mean,
                "std": std,
                "low": mean,
                "high": [2e9, 2e9],
            },
            skip=None if below is None else {"below": below},
            scores=scores,
            description=description,
        )
    )
    assert parse_card(given_card.model_dump_json(), "card.json") == given_card
    assert parse_card(json.dumps(given_card.model_dump()), "card.json") == given_card


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": (card(colour_table="viridis"), "colour_table: Extra inputs"),
    "unknown key inside": (card(skip={"below": 0, "above": 9}), "skip.above: Extra inputs"),
    "newer": (card(schema_version=SCHEMA + 1), "upgrade segbatch"),
    "newer, as text": (card(schema_version=str(SCHEMA + 1)), "schema_version"),
    "before the first": (card(schema_version=0), "schema_version"),
    "no name": ({k: v for k, v in card().items() if k != "name"}, "name: Field required"),
    "a name that leaves the folder": (card(name="../evil"), "name"),
    "one class": (card(classes=card()["classes"][:1]), "classes"),
    "one id twice": (card(classes=[card()["classes"][0]] * 2), "two classes share an id"),
    "3-D raster": (card(rank=3, patch=None, overlap=None, margin=None), "a 3-D model"),
    "3-D patch": (card(patch=[8, 64, 64]), "patch .* does not have rank 2"),
    "overlap of a patch": (card(overlap=[64, 16]), "overlap 64"),
    "margin too wide": (card(margin=[9, 4]), "margin 9"),
    "empty patch": (card(patch=[0, 64]), "patch 0"),
    "means missing": (card(normalisation=normalisation(mean=[1.0])), "one mean and one std"),
    "no numbers": (card(normalisation={"kind": "card"}), "one mean and one std"),
    "no spread": (card(normalisation=normalisation(std=[0.0, 1.0])), "normalisation.std.0"),
    "low alone": (card(normalisation=normalisation(low=[0.0, 0.0])), "come together"),
    "limits missing": (card(normalisation=normalisation(low=[0.0], high=[1.0])), "one low"),
    "limits swapped": (
        card(normalisation=normalisation(low=[0.0, 9.0], high=[1.0, 1.0])),
        "low must lie below high",
    ),
    "NaN": (card(normalisation=normalisation(mean=[float("nan"), 0.0])), "finite"),
    "infinite": (card(skip={"below": float("-inf")}), "finite"),
    "border without a patch": (
        card(patch=None, overlap=None, margin=None, border=dict(BORDER)),
        "border needs a patch",
    ),
    "border of another rank": (card(border={**BORDER, "reach": [3]}), "one reach, one overlap"),
    "3-D border": (
        card(border={"reach": [3] * 3, "overlap": [8] * 3, "margin": [3] * 3}),
        "border needs a patch of its rank",
    ),
    "border that is no grid": (card(border={**BORDER, "margin": [5, 4]}), "margin 5"),
    "border that leaves no stride": (card(border={**BORDER, "overlap": [64, 8]}), "overlap 64"),
    "negative reach": (card(border={**BORDER, "reach": [-1, 0]}), "border.reach.0"),
    "unknown key in the border": (card(border={**BORDER, "halo": 3}), "border.halo: Extra"),
    "no such orientation": (card(orientation="RAX"), "orientation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_card_that_makes_no_sense_is_refused_in_one_line(name: str) -> None:
    data, says = REFUSED[name]
    with pytest.raises(BundleError, match=says) as caught:
        parse_card(json.dumps(data), "model/card.json")
    assert caught.value.message.startswith("model/card.json")
    assert "\n" not in caught.value.message
    assert caught.value.status == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\x00"])
def test_what_is_no_json_object_is_a_damaged_bundle(text: str) -> None:
    with pytest.raises(BundleError, match="damaged"):
        parse_card(text, "card.json")


@given(st.text(max_size=30) | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_any_other_text_is_refused_and_never_a_fault(text: str) -> None:
    with pytest.raises(BundleError):
        parse_card(text, "card.json")


def test_a_card_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"card\.json can't be read"):
        read_card(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(card()), encoding="utf-8")
    assert read_card(tmp_path).channel_names == ("red", "nir")
    (tmp_path / "card.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(BundleError, match="can't be read"):
        read_card(tmp_path)


def test_a_card_of_the_first_schema_is_brought_to_this_one() -> None:
    first = parse_card(json.dumps(card(schema_version=1)), "card.json")
    assert first == parse_card(json.dumps(card(missing="all")), "card.json")
    assert (first.schema_version, first.border, first.split) == (SCHEMA, None, {})
    assert ModelCard.model_validate(card(schema_version=1)) == first  # cards inside other files


def test_the_cards_of_shipped_bundles_load() -> None:
    folders = [path.parent for path in BUNDLES.glob("*/card.json")]
    assert folders
    for folder in folders:
        assert read_card(folder).schema_version == SCHEMA


def test_border_and_split_come_back_from_json() -> None:
    made = ModelCard.model_validate(card(border=BORDER, split={"held_out": ["case 3"]}))
    again = parse_card(made.model_dump_json(), "card.json")
    assert again == made
    assert again.border == Border(**BORDER)
    assert again.split == {"held_out": ["case 3"]}


def test_a_card_is_frozen() -> None:
    made = ModelCard.model_validate(card())
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        made.name = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("largest", "dtype", "nodata"),
    [(1, "uint8", 255), (253, "uint8", 255), (254, "uint16", 65535), (65533, "uint16", 65535)],
)
def test_labels_are_as_wide_as_the_largest_class_needs(
    largest: int, dtype: str, nodata: int
) -> None:
    classes = [{"id": i, "name": str(i), "colour": [0, 0, 0]} for i in (0, largest)]
    made = ModelCard.model_validate(card(classes=classes))
    assert (made.label_dtype, made.nodata) == (dtype, nodata)


def test_a_class_has_a_colour_of_its_own_by_default() -> None:
    colours = [ClassInfo(id=k, name="a").colour for k in range(60)]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == len(colours)
    assert ClassInfo(id=3, name="a", colour=(1, 2, 3)).colour == (1, 2, 3)
    with pytest.raises(ValueError, match="id"):
        ClassInfo(id=-1, name="a")
