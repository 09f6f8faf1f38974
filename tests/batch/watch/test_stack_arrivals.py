"""Arrivals of several files: segmented once all are there, moved together, and never half."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from seg_batch.batch.watch.arrivals import FolderListing, list_arrivals
from seg_batch.batch.watch.stack_arrivals import SINGLE_FILES, StackArrivals
from seg_batch.cli.main import app
from seg_batch.core.errors import WorkflowError
from tests.support.files import address_volume, write_volume

PATTERNS = ("{id}_t1c.nii.gz", "{id}_flair.nii.gz")
STACK = StackArrivals(PATTERNS)
NAMES = st.sets(st.sampled_from([f"p{n}_{c}.nii.gz" for n in range(3) for c in ("t1c", "flair")]))


@given(NAMES)
def test_an_arrival_is_whole_or_waits(names: set[str]) -> None:
    listing = FolderListing(
        {name: (n, n * n, 1) for n, name in enumerate(sorted(names))}, frozenset()
    )
    seen = STACK.grouped(listing)
    for n in range(3):
        first, other = (pattern.replace("{id}", f"p{n}") for pattern in PATTERNS)
        both = {first, other} & names
        assert (first in seen.images) == (len(both) == 2)
        assert (f"p{n}" in seen.waiting) == (len(both) == 1)
        if len(both) == 2:
            sums = zip(listing.images[first], listing.images[other], strict=True)
            assert seen.images[first] == tuple(map(sum, sums))
            assert STACK.files(first) == (first, other)
        elif both:
            (lacking,) = {first, other} - both
            assert seen.waiting[f"p{n}"][1] == f"p{n} waits for {lacking}"
    assert SINGLE_FILES.grouped(listing) == listing


@pytest.mark.parametrize(
    ("there", "declared"),
    [
        (["p1.done"], True),
        (["p1_t1c.nii.gz.done"], False),
        (["p1_t1c.done", "p1_flair.nii.gz.done"], True),
        (["p2.done"], False),
    ],
)
def test_a_marker_declares_the_case_or_each_file(
    tmp_path: Path, there: list[str], declared: bool
) -> None:
    for name in ("p1_t1c.nii.gz", "p1_flair.nii.gz", *there):
        (tmp_path / name).touch()
    seen = STACK.grouped(list_arrivals(tmp_path))
    assert STACK.declared(seen, ".done") == ["p1_t1c.nii.gz"] * declared
    assert (STACK.marker(tmp_path, "p1_t1c.nii.gz", ".done") is not None) == declared


def test_patterns_are_names_in_one_folder() -> None:
    assert StackArrivals.of([f"/any/{p}" for p in PATTERNS]) == STACK
    for wrong in (["t1c.nii"], ["{id}*.nii"], ["{id}/{id}.nii"], ["a/{id}.nii", "b/{id}_2.nii"]):
        with pytest.raises(WorkflowError, match="stack: "):
            StackArrivals.of(wrong)


@pytest.mark.full
def test_a_watch_waits_until_a_case_is_whole(tmp_path: Path) -> None:
    hot = tmp_path / "in"
    hot.mkdir()
    affine = np.diag([1.0, 1, 2, 1])
    for name in ("p1_t1c", "p1_flair", "p2_t1c", "p3_t1c", "p3_flair"):
        moved = np.diag([1.0, 1, 2 + (name == "p3_flair"), 1])
        write_volume(hot / f"{name}.nii.gz", address_volume((20, 21, 22)), moved)
    (hot / "p1_flair.json").write_text("{}")
    quick = ["--model", "probe", "--settle", "0.05", "--every", "0.05", "--cluster", "inline"]
    patterns = [word for pattern in PATTERNS for word in ("--stack", pattern)]
    folders = [f"--{end}={tmp_path}/{end}" for end in ("move-to", "failed-to")]
    command = ["watch", str(hot), "-o", str(tmp_path / "out"), *quick, *patterns, *folders]
    ran = CliRunner().invoke(app, [*command, "--once"])
    assert ran.exit_code == 3, ran.output
    assert "p2 waits for p2_flair.nii.gz" in " ".join(ran.output.split())
    assert [path.name for path in hot.iterdir()] == ["p2_t1c.nii.gz"]
    done = {path.name for path in (tmp_path / "move-to").iterdir()}
    assert done == {"p1_t1c.nii.gz", "p1_flair.nii.gz", "p1_flair.json"}
    failed = {path.name for path in (tmp_path / "failed-to").iterdir()}
    assert failed == {"p3_t1c.nii.gz", "p3_flair.nii.gz", "p3_t1c.nii.gz.segbatch-failed"}
    why = json.loads((tmp_path / "failed-to" / "p3_t1c.nii.gz.segbatch-failed").read_text())["why"]
    assert "can't be stacked" in why
    report = json.loads((tmp_path / "out" / "p1_labels.nii.gz.json").read_text())
    assert report["source"]["files"] == [f"{hot}/p1_{c}.nii.gz" for c in ("t1c", "flair")]
    write_volume(hot / "p2_flair.nii.gz", address_volume((20, 21, 22)), affine)
    ran = CliRunner().invoke(app, [*command, "--once"])
    assert (ran.exit_code, list(hot.iterdir())) == (0, [])
