"""Which inputs a workflow names, and what is made of them, against a slow and obvious reading."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.batch.inputs.expand import is_excluded
from seg_batch.batch.inputs.listing import list_inputs
from seg_batch.config.workflow import Workflow
from seg_batch.core.errors import SegbatchError, WorkflowError
from seg_batch.core.registry.formats import split
from tests.support.batch.listings import NIFTI, made, names, put, reasons

FOLDERS = ("", "a", "a/b", "c", ".h")
FILES = ("x.tif", "y.TIF", "z.nii.gz", "x.nii", "p.png", "t.txt", ".s.tif", "q.tif.part", "a b.tif")
PATTERNS = ("*", "*.tif", "**/*.tif", "a/*", "?.nii*", "[xp].*", "**/x.*", "*/*", "**", "a/b/*.png")
EXCLUDED = ("*.tif", "x.*", "a/*", "b/x.tif", "[!x]*", "?.png")


def slow_match(path: str, pattern: str) -> bool:
    """Part by part; ``**`` any number of folders; what begins with a dot is not found."""
    parts, wanted = path.split("/"), pattern.split("/")
    if any(part.startswith(".") for part in parts):
        return False
    if wanted[0] == "**":
        rest = "/".join(wanted[1:]) or "*"
        return any(slow_match("/".join(parts[n:]), rest) for n in range(len(parts)))
    if len(wanted) == 1:
        return len(parts) == 1 and fnmatch.fnmatchcase(parts[0], wanted[0])
    return (
        len(parts) > 1
        and fnmatch.fnmatchcase(parts[0], wanted[0])
        and slow_match("/".join(parts[1:]), "/".join(wanted[1:]))
    )


def slow_excluded(path: str, patterns: list[str]) -> bool:
    """A pattern of n parts matches the last n parts of the path, with a slash those of a folder."""
    for pattern in patterns:
        if pattern.endswith("/"):
            folders = path.split("/")[:-1]
            above = ["/".join(folders[: n + 1]) for n in range(len(folders))]
            if any(slow_excluded(folder, [pattern[:-1]]) for folder in above):
                return True
            continue
        n = pattern.count("/") + 1
        tail = path.split("/")[-n:]
        pairs = zip(tail, pattern.split("/"), strict=False)
        if len(tail) == n and all(fnmatch.fnmatchcase(a, b) for a, b in pairs):
            return True
    return False


@pytest.mark.full
@given(
    files=st.sets(st.sampled_from([f"{d}/{f}".lstrip("/") for d in FOLDERS for f in FILES])),
    pattern=st.sampled_from(PATTERNS),
    without=st.lists(st.sampled_from(EXCLUDED), max_size=2),
)
def test_patterns_find_the_images_that_match(
    files: set[str], pattern: str, without: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "root"
        put(folder, *files)
        folder.mkdir(exist_ok=True)
        found = list_inputs(made(Path(name), {"paths": [f"root/{pattern}"], "exclude": without}))
    images = {f for f in files if re.search(r"\.(tif|nii|nii\.gz|png)$", f, re.IGNORECASE)}
    matching = {f for f in images if slow_match(f, pattern)}
    wanted = sorted(f for f in matching if not slow_excluded(f, without))
    owners: dict[str, str] = {}
    for one in wanted:  # of equal outputs the first stays
        ending = ".nii.gz" if ".nii" in one else ".tif"
        owners.setdefault(split(os.path.basename(one))[0] + ending, one)
    assert [os.path.relpath(one.path, folder) for one in found.specs] == sorted(
        owners.values(), key=wanted.index
    )
    twice = len(wanted) - len(owners)
    assert len(found.refused) == twice + (not matching)


@given(
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map("/".join),
    st.lists(
        st.sampled_from(["a", "?", "*b", "b/*", "a/b", "[!a]/b", "a/", "a/?/", "*"]), max_size=2
    ),
)
def test_exclusions(path: str, patterns: list[str]) -> None:
    assert is_excluded(f"/{path}", patterns) == slow_excluded(path, patterns)


def test_inputs_are_named_in_five_ways_and_keep_their_order(tmp_path: Path) -> None:
    put(tmp_path, "one.tif", "f/b.nii.gz", "f/a.png", "f/deep/no.tif", "g/1.tif", "l/x.nii")
    put(tmp_path, "m/k.tif", "m/n.nii")
    (tmp_path / "l" / "files.txt").write_bytes(
        b"\xef\xbb\xbf# those of today\n\nx.nii\r\n../one.tif\n"
    )
    (tmp_path / "m" / "m.csv").write_text(
        "input,model,output,volume\nk.tif,probe,kk,\nn.nii,./b|c,sub/n.zarr,3\n"
    )
    inputs = {"paths": ["one.tif", "f", "g/*"], "list": "l/files.txt", "manifest": "m/m.csv"}
    found = list_inputs(made(tmp_path, inputs))
    assert not found.refused
    assert names(found, tmp_path) == {
        "one.tif": "one_labels.tif", "f/a.png": "a_labels.tif", "f/b.nii.gz": "b_labels.nii.gz",
        "g/1.tif": "1_labels.tif", "m/k.tif": "kk.tif", "m/n.nii": "sub/n.zarr",
        "l/x.nii": "x_labels.nii.gz",
    }  # fmt: skip
    by_key = {one.key: one for one in found.specs}
    k, n = by_key[f"{tmp_path}/m/k.tif"], by_key[f"{tmp_path}/m/n.nii#3"]
    assert (k.model, k.volume) == (("probe",), None)
    assert (n.model, n.volume) == ((f"{tmp_path}/m/./b", "c"), 3)


def test_the_format_follows_from_what_the_file_is_not_from_its_name(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(NIFTI)
    formats = {"folder": "out", "formats": {"volume": "zarr"}}
    found = list_inputs(made(tmp_path, "scan.tif", outputs=formats))
    assert names(found, tmp_path) == {"scan.tif": "scan_labels.zarr"}


def test_the_kind_of_a_zarr_store_is_read_from_its_header(tmp_path: Path) -> None:
    import numpy as np
    import zarr

    for name, axes in (("v", "zyx"), ("r", "yx")):
        array = zarr.create_array(
            tmp_path / f"{name}.zarr", data=np.ones((4,) * len(axes), np.float32),
            dimension_names=tuple(axes),
        )  # fmt: skip
        assert array.ndim == len(axes)
    found = list_inputs(made(tmp_path, "*"))
    wanted = {"r.zarr": "r_labels.tif", "v.zarr": "v_labels.nii.gz"}
    assert (names(found, tmp_path), reasons(found)) == (wanted, [])


def test_what_can_be_no_input_is_set_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    put(tmp_path, "good.tif")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("hello")
    (tmp_path / "void").mkdir()
    (tmp_path / "m.csv").write_text("input,volume\n,\ngood.tif,x\nlost.nii,\na,b,c\n")
    paths = ["missing.tif", "empty.tif", "text.tif", "void", "*.nii", "good.tif"]
    found = list_inputs(made(tmp_path, {"paths": paths, "manifest": "m.csv"}))
    assert names(found, tmp_path) == {"good.tif": "good_labels.tif"}
    words = [
        "missing.tif: no such file", "empty.tif: the file is empty", "text.tif: ", "void: ",
        "*.nii: ", "m.csv:2: the row has no input", "m.csv:3: 'x' is no volume", "lost.nii: no such",
        "m.csv:5: more values",
    ]  # fmt: skip
    assert len(found.refused) == len(words) == len(set(found.refused))
    for said, wanted in zip(reasons(found), words, strict=True):
        assert wanted in said
        assert "\n" not in said


def test_a_link_to_nothing_in_a_folder_is_told_of(tmp_path: Path) -> None:
    put(tmp_path, "good.tif")
    (tmp_path / "lost.tif").symlink_to(tmp_path / "nowhere.tif")
    (tmp_path / "folder.tif").mkdir()
    for inputs in (f"{tmp_path}/", f"{tmp_path}/*"):
        found = list_inputs(made(tmp_path, inputs))
        assert names(found, tmp_path) == {"good.tif": "good_labels.tif"}
        assert list(found.refused) == [f"{tmp_path}/lost.tif"]
        assert "no such file" in reasons(found)[0]


def test_of_two_inputs_with_one_output_the_later_is_set_aside(tmp_path: Path) -> None:
    put(tmp_path, "a/x.tif", "b/x.tif", "c/x.png", "c/x.nii")
    found = list_inputs(made(tmp_path, ["a/*", "b/*", "c/*"]))
    assert names(found, tmp_path) == {"a/x.tif": "x_labels.tif", "c/x.nii": "x_labels.nii.gz"}
    assert [os.path.relpath(key, tmp_path) for key in found.refused] == ["b/x.tif", "c/x.png"]
    assert all("also that of" in one and "{parent}" in one for one in reasons(found))
    apart = made(tmp_path, ["a/*", "b/*"], outputs={"folder": "out", "pattern": "{parent}/{stem}"})
    assert names(list_inputs(apart), tmp_path) == {"a/x.tif": "a/x.tif", "b/x.tif": "b/x.tif"}


def test_probabilities_are_outputs_too(tmp_path: Path) -> None:
    put(tmp_path, "x.tif", "x_probabilities.tif")
    outputs = {"folder": "out", "pattern": "{stem}"}
    assert len(list_inputs(made(tmp_path, "*", outputs=outputs)).specs) == 2
    both = made(tmp_path, "*", outputs=outputs, options={"probabilities": True})
    assert list(names(list_inputs(both), tmp_path)) == ["x.tif"]


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    put(tmp_path, "x.tif", "x_labels.tif")
    found = list_inputs(made(tmp_path, ["x.tif", "x_labels.tif"], outputs={"folder": "."}))
    assert [one.path for one in found.specs] == [f"{tmp_path}/x_labels.tif"]
    assert "is an input, which would be lost" in reasons(found)[0]


def test_products_beside_inputs_are_not_taken_for_inputs(tmp_path: Path) -> None:
    put(tmp_path, "x.tif", "y.tif", "z.tif", "u.tif", "bids.tif")
    flow = made(tmp_path, ["*.tif"], outputs={"folder": "."})
    first = list_inputs(flow)
    assert len(first.specs) == 5
    put(tmp_path, "x_labels.tif", "x_labels_probabilities.tif", "y_labels.tif", "z_labels.tif")
    report = {"segbatch": "1", "status": "complete", "plan": {}, "product": {}, "blocks": {}}
    (tmp_path / "x_labels.tif.json").write_text(json.dumps(report))  # done
    (tmp_path / "y_labels.tif.work.zarr").mkdir()  # in its place, and not told of yet
    (tmp_path / "z_labels.tif.try-1.work.zarr").mkdir()
    (tmp_path / "bids.tif.json").write_text('{"EchoTime": 1}')  # somebody else's
    assert list_inputs(flow) == first
    assert len(list_inputs(made(tmp_path, ["x_labels.tif"])).specs) == 1  # by name it is one
    assert list_inputs(made(tmp_path, ["."], outputs={"folder": "."})).specs == first.specs


def test_an_input_named_twice_counts_once_unless_the_wishes_differ(tmp_path: Path) -> None:
    put(tmp_path, "x.tif")
    (tmp_path / "m.csv").write_text("input,output\nx.tif,\nx.tif,other\n")
    found = list_inputs(
        made(tmp_path, {"paths": ["x.tif", "*.tif", "./x.tif"], "manifest": "m.csv"})
    )
    assert names(found, tmp_path) == {"x.tif": "x_labels.tif"}
    assert len(found.refused) == 1
    assert "named twice" in reasons(found)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"inptu,output\na,b\n", "m.csv:1:1: unknown column 'inptu': did you mean input"),
        (b"input,outptu\na,b\n", "m.csv:1:7: unknown column 'outptu': did you mean output"),
        (b"output\nb\n", "m.csv:1:1: there is no column input"),
        (b"", "m.csv:1:1: there is no column input"),
        (b"input,input\na,b\n", "m.csv:1:7: the column 'input' stands there twice"),
        (b'input\n"a\nb\n', "m.csv:3: not CSV"),
        (b"input\n" + b"a" * 200_000, "m.csv:2: not CSV"),
    ],
)
def test_a_manifest_that_is_none_stops_the_night(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(WorkflowError) as refused:
        list_inputs(made(tmp_path, {"manifest": "m.csv"}))
    assert words in refused.value.message
    assert "\n" not in refused.value.message


def test_a_list_that_is_not_there_stops_the_night(tmp_path: Path) -> None:
    for kind in ("list", "manifest"):
        with pytest.raises(WorkflowError, match=r"gone.*can't be read.*No such file"):
            list_inputs(made(tmp_path, {kind: "gone"}))


def test_links_lead_to_each_folder_once(tmp_path: Path) -> None:
    put(tmp_path / "root", "x.tif", "z/y.tif")
    put(tmp_path / "far", "w.tif")
    for link, target in (
        ("up", "."),
        ("z/top", ".."),
        ("a", "z"),
        ("b", "../far"),
        ("round", "round"),
    ):
        (tmp_path / "root" / link).symlink_to(target)
    for pattern in ("**/*.tif", "**", "**/**/*.tif"):
        found = list_inputs(made(tmp_path, f"root/{pattern}"))
        paths = [os.path.relpath(one.path, tmp_path / "root") for one in found.specs]
        assert (paths, reasons(found)) == (["b/w.tif", "x.tif", "z/y.tif"], [])


def test_images_that_lie_deeper_are_pointed_at(tmp_path: Path) -> None:
    put(tmp_path / "root", "p1/x.tif")
    (tmp_path / "empty").mkdir()
    above, empty = reasons(list_inputs(made(tmp_path, {"paths": ["root", "empty"]})))
    (pattern,) = re.findall(r"or write (\S+) for", above)
    assert [Path(one.path).name for one in list_inputs(made(tmp_path, pattern)).specs] == ["x.tif"]
    assert "**" not in empty


def test_a_folder_that_can_not_be_read_is_set_aside(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    put(tmp_path, "x.tif")
    found = list_inputs(made(tmp_path, ["loop", "x.tif"]))
    assert names(found, tmp_path) == {"x.tif": "x_labels.tif"}
    assert len(found.refused) == 1


def test_a_workflow_of_steps_has_no_inputs_of_its_own() -> None:
    steps = [{"do": "train", "data": ["d"], "output": "b"}]
    flow = Workflow.model_validate({"name": "n", "outputs": "o", "steps": steps})
    with pytest.raises(SegbatchError, match="workflow of steps"):
        list_inputs(flow)
