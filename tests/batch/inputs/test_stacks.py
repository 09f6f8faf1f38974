"""Images of several files in a workflow: by a pattern, a table, a list, a manifest, or one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from seg_batch.batch.inputs.listing import Listing, list_inputs
from seg_batch.batch.inputs.stacks import stacked_cases
from seg_batch.config.workflow import Workflow
from seg_batch.config.workflow.parts import InputSettings
from seg_batch.core.errors import WorkflowError
from tests.support.batch.listings import put

WORDS = st.text("pq7", min_size=1, max_size=3)
CHANNELS = ("t1c", "flair", "t2")


def listing(folder: Path, **inputs: object) -> Listing:
    plain = {"name": "n", "inputs": inputs, "model": "probe", "outputs": str(folder / "out")}
    return list_inputs(Workflow.model_validate(plain))


def images(listing: Listing, folder: Path) -> list[list[str]]:
    return [[str(Path(p).relative_to(folder)) for p in spec.files] for spec in listing.specs]


def outputs(listing: Listing) -> list[str]:
    return [Path(spec.output or "").name for spec in listing.specs]


@given(st.dictionaries(WORDS, st.sets(st.sampled_from(CHANNELS), min_size=1), max_size=5))
def test_a_case_is_whole_where_it_has_a_file_for_each_pattern(cases: dict[str, set[str]]) -> None:
    patterns = [f"d/{{id}}_{channel}.nii" for channel in CHANNELS]
    there = [f"d/{case}_{channel}.nii" for case, names in cases.items() for channel in names]
    made = stacked_cases(patterns, dict.fromkeys(patterns, there))
    assert [case.id for case in made] == sorted(cases)
    for case in made:
        wanted = tuple(f"d/{case.id}_{channel}.nii" for channel in CHANNELS)
        whole = cases[case.id] == set(CHANNELS)
        assert case.in_order(3) == (wanted if whole else None)
        lacking = [path for path in wanted if path not in there]
        assert whole or all(path in case.fault(patterns) for path in lacking)


def test_a_pattern_gives_the_whole_cases_and_names_the_others(tmp_path: Path) -> None:
    put(tmp_path / "in", "p1_t1c.nii", "p1_flair.nii", "p2_t1c.nii", "p3_flair.nii", "p1.txt")
    pattern = [f"{tmp_path}/in/{{id}}_{channel}.nii" for channel in ("t1c", "flair")]
    listed = listing(tmp_path, stack=pattern)
    assert images(listed, tmp_path / "in") == [["p1_t1c.nii", "p1_flair.nii"]]
    assert outputs(listed) == ["p1_labels.nii.gz"]
    assert list(listed.refused.values()) == [
        f"p2: there is no {tmp_path}/in/p2_flair.nii, and a case needs all its files: add it",
        f"p3: there is no {tmp_path}/in/p3_t1c.nii, and a case needs all its files: add it",
    ]
    (spec,) = listed.specs
    assert spec.key == f"{tmp_path}/in/p1_t1c.nii|p1_flair.nii"
    assert "lies deeper" in str(listing(tmp_path, stack=f"{tmp_path}/{{id}}.nii").refused)


def test_patterns_may_name_folders_and_leave_nothing_open(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        put(tmp_path / "in" / case, f"{case}.nii", f"{case}_flair.nii")
    whole = [f"{tmp_path}/in/{{id}}/{{id}}.nii", f"{tmp_path}/in/{{id}}/{{id}}_flair.nii"]
    listed = listing(tmp_path, stack=whole, exclude=["p2/"])
    assert images(listed, tmp_path / "in") == [["p1/p1.nii", "p1/p1_flair.nii"]]
    put(tmp_path / "again" / "p1", "p1.nii")
    some = [f"{tmp_path}/*/p1/{{id}}.nii", f"{tmp_path}/in/p1/{{id}}_flair.nii"]
    (why,) = listing(tmp_path, stack=some).refused.values()
    assert "are the same channel" in why


def test_tables_lists_and_manifests_name_several_files(tmp_path: Path) -> None:
    put(tmp_path, "a.nii", "b.nii", "c|d.nii")
    (tmp_path / "t.csv").write_text("input\na.nii | b.nii\nc|d.nii\na.nii|\n")
    listed = listing(tmp_path, manifest=str(tmp_path / "t.csv"))
    assert images(listed, tmp_path) == [["a.nii", "b.nii"], ["c|d.nii"]]
    assert "names no file beside a bar" in str(listed.refused)
    (tmp_path / "l.txt").write_text("a.nii|b.nii\n")
    assert images(listing(tmp_path, list=str(tmp_path / "l.txt")), tmp_path) == [["a.nii", "b.nii"]]
    case = {"id": "p7", "image": ["a.nii", "b.nii"], "label": "l.nii", "split": "test"}
    (tmp_path / "m.yaml").write_text(json.dumps({"cases": [case], "channels": ["a", "b"]}))
    (tmp_path / "m.csv").write_text("id,image,label\np7,a.nii|b.nii,l.nii\n")
    inline = {**case, "image": [f"{tmp_path}/a.nii", f"{tmp_path}/b.nii"]}
    for inputs in (
        {"manifest": str(tmp_path / "m.yaml")},
        {"manifest": str(tmp_path / "m.csv")},
        {"cases": [inline]},
    ):
        listed = listing(tmp_path, **inputs)
        assert images(listed, tmp_path) == [["a.nii", "b.nii"]]
        assert outputs(listed) == ["p7_labels.nii.gz"]
    (tmp_path / "m.yaml").write_text("cases: 3\n")
    with pytest.raises(WorkflowError, match=r"m.yaml: cases"):
        listing(tmp_path, manifest=str(tmp_path / "m.yaml"))


def test_a_product_is_no_file_of_any_stack(tmp_path: Path) -> None:
    put(tmp_path / "out", "a_labels.nii.gz", "b.nii")
    cases = [{"id": "a", "image": [f"{tmp_path}/out/b.nii", f"{tmp_path}/out/a_labels.nii.gz"]}]
    assert "is an input, which would be lost" in str(listing(tmp_path, cases=cases).refused)


def test_settings_that_say_nothing_are_refused_and_defaults_change_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="by which the files of one case are known"):
        InputSettings(stack=("a_t1c.nii",))
    with pytest.raises(ValidationError):
        InputSettings(cases=({"image": []},))
    plain = {"name": "n", "inputs": "in", "model": "probe", "outputs": "out"}
    written = Workflow.model_validate(plain).to_json()["inputs"]
    assert "stack" not in written
    assert "cases" not in written
