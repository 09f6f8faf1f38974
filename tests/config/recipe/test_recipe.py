"""A recipe is read strictly, and what is stored is what was read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from seg_batch.config.recipe import Recipe, parse_recipe, read_recipe
from seg_batch.config.recipe.hold_out import HeldPart
from seg_batch.config.recipe.reading import as_yaml
from seg_batch.core.errors import InputError
from tests.support.training.recipes import CLASSES, plain_recipe, recipe

NAME = {"name": CLASSES[0]["name"]}

WORKFLOWS = Path(__file__).parents[3] / "workflows"


@pytest.mark.parametrize("name", ["landsat8-landcover", "hippocampus-mri"])
def test_the_starter_recipes_come_back_as_they_were(name: str) -> None:
    found = read_recipe(WORKFLOWS / f"{name}.yaml")
    assert found.card.name == name
    assert parse_recipe(found.model_dump_json(), name) == found


@pytest.mark.parametrize("part", [None, "card", "cut", "hold_out", "fit"])
def test_an_unknown_key_is_refused_by_name(part: str | None) -> None:
    plain = plain_recipe()
    (plain[part] if part else plain)["lerning_rate"] = 1
    with pytest.raises(InputError, match=r"lerning_rate.*mend the recipe") as refused:
        parse_recipe(json.dumps(plain), "r.json")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        (
            {"optimiser": {"lerning_rate": 1}},
            "optimiser.lerning_rate: .*did you mean learning_rate",
        ),
        ({"hold_out": {"folds": {"count": 3, "fld": 1}}}, "folds.fld: .*did you mean fold"),
        ({"card": {"classes": [{**CLASSES[0], "nam": "x"}, CLASSES[1]]}}, "did you mean name"),
    ],
)
def test_a_misspelt_key_comes_with_the_nearest_one(changes: dict[str, Any], nearest: str) -> None:
    with pytest.raises(InputError, match=nearest):
        parse_recipe(json.dumps(plain_recipe(2, **changes)), "r.json")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cut": {"patch": [16, 16, 16]}}, "rank, 2"),
        ({"card": {"background": 77}}, "background 77 is no class"),
        ({"card": {"classes": [CLASSES[0], {**CLASSES[1], **NAME}]}}, "two classes share a name"),
        ({"fit": {"patch": [32, 16]}}, "can't be cropped"),
        ({"augment": {"flip": [2]}}, "axes 0 to 1"),
        ({"fit": {"patch": [8, 16]}, "augment": {"quarter_turns": [0, 1]}}, "equal fit patch"),
        ({"sampling": {"balance": 1.5}}, "less than or equal to 1"),
        ({"card": {"kind": "raster", "rank": 3, "patch": [8] * 3, "overlap": [4] * 3}}, "rast"),
        ({"hold_out": {"test": {"boxes": [[[0, 0, 0], [9, 9, 9]]]}}}, "no region of a raster"),
        ({"hold_out": {"test": {"boxes": [[[5, 0], [5, 9]]]}}}, "start below its stop"),
        (
            {
                "hold_out": {
                    "validation": {"boxes": [[[0, 0], [9, 9]]]},
                    "test": {"boxes": [[[8, 8], [20, 20]]]},
                }
            },
            "touches test box",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_recipe(json.dumps(plain_recipe(2, **changes)), "r.json")


def test_a_recipe_that_is_no_file_or_no_json_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_recipe(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"card": ')
    with pytest.raises(InputError, match=r"cut\.json:1:10: not YAML"):
        read_recipe(tmp_path / "cut.json")


def test_a_recipe_written_as_yaml_is_read_back() -> None:
    same = [1, 2]
    terms = [{"loss": "dice", "weight": same}, {"loss": "focal", "weight": same}]
    made = recipe(loss={"terms": terms})
    assert parse_recipe(as_yaml(made), "r.yaml") == made


@pytest.mark.parametrize("name", ["08", "1e3", "12:00:00", "yes", "~", "2026-11-21", "0o17", ".5"])
def test_a_name_that_looks_like_a_number_stays_a_name(name: str) -> None:
    made = recipe(hold_out={"test": {"cases": [name]}})
    assert parse_recipe(as_yaml(made), "r.yaml") == made


def test_values_can_not_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe().fit.steps = 3  # type: ignore[misc]


def test_every_nth_case_from_the_first_is_held_out() -> None:
    part = HeldPart(every=3, first=1, cases=("odd",))
    assert [n for n in range(9) if part.has_case("c", n)] == [1, 4, 7]
    assert part.has_case("odd", 0)
    assert not any(HeldPart().has_case("c", n) for n in range(5))


def test_a_case_of_both_parts_is_test() -> None:
    found: Recipe = recipe(hold_out={"validation": {"every": 1}, "test": {"cases": ["a"]}})
    assert [found.hold_out.part_of(c, 0) for c in "ab"] == ["test", "validation"]


def test_aliases_that_would_grow_without_end_are_refused() -> None:
    layers = [f"- &h{i} [{', '.join([f'*h{i - 1}'] * 9)}]" for i in range(1, 12)]
    text = "\n".join(["loss:", *(f"  {line}" for line in ("- &h0 [1]", *layers))])
    with pytest.raises(InputError, match="aliases are not read here: write the value out"):
        parse_recipe(text, "a recipe")


def test_a_background_that_losses_would_not_skip_is_refused() -> None:
    assert parse_recipe(json.dumps(plain_recipe(card={"background": 1})), "r").background == 0
    with pytest.raises(InputError, match="first of the classes"):
        parse_recipe(json.dumps(plain_recipe(card={"background": 7})), "r")


def test_vector_labels_that_are_as_usual_leave_a_recipe_as_it_was() -> None:
    plain = json.loads(recipe().model_dump_json())
    assert "vector_labels" not in plain
    assert "vector_labels" not in json.loads(recipe(vector_labels={}).model_dump_json())
    assert "vector_labels" in json.loads(recipe(vector_labels={"outside": 0}).model_dump_json())
