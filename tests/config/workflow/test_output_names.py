"""How products are named after their inputs, and what no product may be called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.config.workflow.output_names import check_pattern, output_name
from seg_batch.core.registry.formats import split
from tests.support.batch.listings import TIFF, made, names, put, reasons


@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(["{stem}", "{parent}", "{name}", "{index}", "{index:03}"]),
            st.text(alphabet="ab_-. ", min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=5,
    ),
    path=st.tuples(
        st.text(alphabet="pq{}.", min_size=1, max_size=4).filter(lambda t: t.strip(".")),
        st.text(alphabet="xy{}.", min_size=1, max_size=4),
        st.sampled_from([".tif", ".nii.gz", ".NII", ".txt", ""]),
    ),
    index=st.integers(1, 2000),
)
def test_names_are_made_of_their_parts(
    parts: list[str], path: tuple[str, str, str], index: int
) -> None:
    pattern = "".join(parts)
    parent, stem, ending = path
    name = stem + ending
    known = next((e for e in (".nii.gz", ".nii", ".tif") if name.lower().endswith(e)), "")
    values = {
        "{stem}": name[: len(name) - len(known)],
        "{parent}": parent,
        "{name}": name,
        "{index}": str(index),
        "{index:03}": str(index).rjust(3, "0"),
    }
    wanted = "".join(values.get(part, part) for part in parts)
    if pattern != ".." and not split(pattern)[1]:
        assert output_name(check_pattern(pattern), f"/r/{parent}/{name}", index) == wanted


@pytest.mark.parametrize("output", ["../x", "a/../../x", "/tmp/x"])
def test_no_output_leaves_its_folder(output: str, tmp_path: Path) -> None:
    put(tmp_path, "x.tif")
    (tmp_path / "m.csv").write_text(f"input,output\nx.tif,{output}\n")
    found = list_inputs(made(tmp_path, {"manifest": "m.csv"}))
    assert (found.specs, len(found.refused)) == ((), 1)
    assert "is not in" in reasons(found)[0]


def test_a_stem_of_dots_does_not_leave_the_folder_either(tmp_path: Path) -> None:
    put(tmp_path, "...tif")
    (tmp_path / "l.txt").write_text("...tif\n")
    pattern = {"folder": "out", "pattern": "{stem}/x"}
    found = list_inputs(made(tmp_path, {"list": "l.txt"}, outputs=pattern))
    assert (found.specs, len(found.refused)) == ((), 1)


@pytest.mark.parametrize(
    "output", ["a.tif.work.zarr", ".segbatch/night/lock/9", "a.tif.try-x.zarr", "a.work.zarr/b"]
)
def test_no_output_is_called_as_what_is_made_on_the_way(output: str, tmp_path: Path) -> None:
    put(tmp_path, "x.tif")
    (tmp_path / "m.csv").write_text(f"input,output\nx.tif,{output}\n")
    (why,) = reasons(list_inputs(made(tmp_path, {"manifest": "m.csv"})))
    assert "rename it" in why


def test_hostile_names_are_names(tmp_path: Path) -> None:
    hostile = [
        "a\nb.tif",
        "${HOME}.tif",
        "{stem}.tif",
        "-o.tif",
        "é\u202e.tif",
        "<b>'\".tif",
        "*[a].tif",
    ]
    put(tmp_path, *(f"in/{name}" for name in hostile))
    raw = os.fsencode(tmp_path / "in") + b"/\xff.tif"
    with open(raw, "wb") as file:
        file.write(TIFF)
    found = list_inputs(made(tmp_path, "in"))
    assert not found.refused
    stems = {os.path.basename(one.output).removesuffix("_labels.tif") for one in found.specs}
    assert stems == {name.removesuffix(".tif") for name in (*hostile, "\udcff.tif")}
    assert list_inputs(made(tmp_path, "in/*")).specs == found.specs
    (tmp_path / "l.txt").write_bytes(b"in/\xff.tif\nin/*[a].tif\nin/a\0.tif\n")
    of_list = list_inputs(made(tmp_path, {"list": "l.txt"}))
    assert len(of_list.specs) == 2
    assert "zero byte" in reasons(of_list)[0]


def test_the_index_counts_inputs_in_their_order(tmp_path: Path) -> None:
    put(tmp_path, "b/2.tif", "b/1.tif", "a/3.tif")
    outputs = {"folder": "out", "pattern": "{index:02}"}
    found = list_inputs(made(tmp_path, ["b", "a"], outputs=outputs))
    assert names(found, tmp_path) == {"b/1.tif": "01.tif", "b/2.tif": "02.tif", "a/3.tif": "03.tif"}
