"""Further products of one run: made of the finished map, by name, once, and never in place of what is not ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import seg_batch
from seg_batch.core import events
from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import DamagedError, OutputError, PartialResultError, RefusedError
from seg_batch.core.registry.formats import PRODUCTS, ProductFormat
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.verify import verify_product
from tests.support.files import (
    address_raster,
    address_volume,
    damaged,
    write_raster,
    write_volume,
)

AFFINE = np.diag([1.5, 0.9, 2.0, 1.0])


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return write_volume(tmp_path / "in.nii.gz", address_volume((13, 11, 9)), AFFINE)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "in.tif", address_raster((60, 50), 2, "uint8"))


class Stages(Callback):
    """What was done: blocks that were predicted, and stages."""

    def __init__(self) -> None:
        self.blocks, self.stages = 0, list[str]()

    def on(self, event: events.Event) -> None:
        self.blocks += isinstance(event, events.BlockEnded)
        if isinstance(event, events.Stage):
            self.stages.append(event.text)


def run(image: Path, output: str, *also: str, **more: Any) -> tuple[Any, Stages]:
    seen = Stages()
    product = image.parent / output
    report = seg_batch.predict(image, product, model="probe", also=also, callback=seen, **more)
    return report, seen


def on_disk(path: Path) -> Any:
    return json.loads(path.with_name(path.name + ".json").read_text())


def labels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


def test_a_product_that_is_asked_for_later_is_made_without_predicting(volume: Path) -> None:
    folder = volume.parent
    _, seen = run(volume, "out.nii.gz", ".csv", ".nii")
    assert seen.blocks == 1
    assert np.array_equal(labels(folder / "out.nii"), labels(folder / "out.nii.gz"))
    before = (folder / "out.csv").stat().st_mtime_ns, (folder / "out.nii.gz").stat().st_mtime_ns
    (folder / "out.nii").unlink()
    report, seen = run(volume, "out.nii.gz", ".csv", ".nii", ".label")
    assert seen.blocks == 0
    assert (folder / "out.nii").exists(), "one that is missing is made again"
    after = (folder / "out.csv").stat().st_mtime_ns, (folder / "out.nii.gz").stat().st_mtime_ns
    assert after == before
    rows = on_disk(folder / "out.nii.gz")["also"]
    assert {Path(row["path"]).name for row in rows} == {"out.csv", "out.nii", "out.label"}
    assert {row["of"] for row in rows} == {report["product"]["sha256"]}
    assert report["also"] == rows
    assert on_disk(folder / "out.nii.gz")["seconds"] > 0, "the report stays that of the work"
    _, seen = run(volume, "out.nii.gz", ".csv", ".nii", ".label")
    assert not [stage for stage in seen.stages if "further" in stage]
    assert verify_product(folder / "out.nii.gz")["ok"]


def test_one_that_was_changed_is_neither_replaced_nor_verified(volume: Path) -> None:
    folder = volume.parent
    run(volume, "out.nii.gz", ".csv")
    with (folder / "out.csv").open("a") as file:
        file.write("mine\n")
    with pytest.raises(OutputError, match="not an unchanged result"):
        run(volume, "out.nii.gz", ".csv")
    assert (folder / "out.csv").read_text().endswith("mine\n")
    assert not verify_product(folder / "out.nii.gz")["ok"]
    run(volume, "out.nii.gz")  # who does not ask for it gets the map
    (folder / "out.csv").rename(folder / "mine.csv")
    _, seen = run(volume, "out.nii.gz", ".csv")
    assert seen.blocks == 0
    assert verify_product(folder / "out.nii.gz")["ok"]
    run(volume, "out.nii.gz", ".csv", overwrite=True)


def test_a_file_of_others_is_refused_before_any_work(volume: Path) -> None:
    other = volume.parent / "other.csv"
    other.write_text("theirs")
    with pytest.raises(OutputError, match=r"other\.csv exists"):
        run(volume, "out.nii.gz", str(other))
    assert sorted(path.name for path in volume.parent.iterdir()) == ["in.nii.gz", "other.csv"]
    run(volume, "out.nii.gz", str(other), overwrite=True)
    assert other.read_text().startswith("class_id")


def test_one_of_an_earlier_map_is_told_from_one_of_this(volume: Path) -> None:
    product = volume.parent / "out.nii.gz"
    run(volume, product.name, ".csv")
    first = (volume.parent / "out.csv").read_bytes()
    run(volume, product.name, overwrite=True, post=("majority:3",))
    assert not verify_product(product)["ok"], "the table is of a map that is gone"
    run(volume, product.name, ".csv", post=("majority:3",))
    assert (volume.parent / "out.csv").read_bytes() != first
    assert verify_product(product)["ok"]


@pytest.mark.parametrize(
    ("also", "why"),
    [
        ([".xyz"], r"can't be made of the labels of a volume: --also takes .*\.csv"),
        (["somewhere"], "can't be made"),
        ([""], "can't be made|names no file"),
        ([".."], "can't be made"),
        ([".tif"], "can't be made of the labels of a volume"),
        ([".zarr"], "name it with -o"),
        ([".csv", ".csv"], "and so is --also .csv"),
        ([".csv", "{stem}_labels.csv"], None),
        (["out.csv", ".csv"], "and so is --also out.csv"),
        (["sub/../out.csv", ".csv"], "and so is"),
        ([".nii.gz"], "and so is the output"),
        (["in.nii.gz"], "is or holds the input"),
        (["in.nii.gz/x.csv"], "is or holds the input|Not a directory|can't be written"),
        (["https://host/x.csv"], "host"),
        ([".seg.dcm"], "DICOM"),
    ],
)
def test_what_can_not_be_is_refused_in_a_line(
    volume: Path, monkeypatch: pytest.MonkeyPatch, also: list[str], why: str | None
) -> None:
    monkeypatch.chdir(volume.parent)
    if why is None:
        run(volume, "out.nii.gz", *also)
        assert {path.suffix for path in volume.parent.glob("*.csv")} == {".csv"}
        return
    with pytest.raises(RefusedError, match=why) as caught:
        run(volume, "out.nii.gz", *also)
    assert "\n" not in str(caught.value)
    assert [path.name for path in volume.parent.iterdir()] == ["in.nii.gz"], "nothing is written"


def test_names(tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = str(tmp_path / "out" / "a_labels.nii.gz")

    def paths(*also: str, **more: Any) -> list[str]:
        prepared = prepare(Request(str(volume), output, "probe", also=also, **more))
        return [str(path.relative_to(tmp_path)) for path in prepared.outputs.also]

    assert paths(".csv", "{stem}.nii", "b.csv") == ["out/a_labels.csv", "out/in.nii", "b.csv"]
    with pytest.raises(OutputError, match="the same file for every input"):
        paths("b.csv", many=True)
    assert paths(".csv", ".tif", also_where_possible=True) == ["out/a_labels.csv"]
    long = str(tmp_path / ("n" * 240 + ".nii.gz"))
    prepared = prepare(Request(str(volume), long, "probe", also=(".label",)))
    assert len(prepared.outputs.also[0].name) <= 255


def test_a_partial_map_gets_none(tmp_path: Path) -> None:
    scene = damaged(tmp_path / "in.tif")
    with pytest.raises(PartialResultError):
        run(scene, "out.tif", ".csv", block=(256, 256))
    assert (tmp_path / "out.tif").exists()
    assert not (tmp_path / "out.csv").exists()


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> ProductFormat:
    """A format that writes the sum of the labels and fails as often as it is told to."""

    def write(part: Path, store: Any, spec: Any, read: Any, again: Any, name: str) -> None:
        assert store is None
        total = sum(int(read(box).sum()) for box in spec.boxes())
        part.write_text(str(total))
        if failures:
            raise failures.pop()

    failures: list[Exception] = [DamagedError("it does not read back")]
    form = ProductFormat(
        name="fragile", kinds=("volume",), endings=(".sum",), write=write, holds_labels=False
    )
    monkeypatch.setitem(PRODUCTS._values, "fragile", form)  # type: ignore[attr-defined]
    return form


def test_one_that_fails_leaves_nothing_and_is_made_next_time(
    volume: Path, fragile: ProductFormat
) -> None:
    folder = volume.parent
    with pytest.raises(DamagedError):
        run(volume, "out.nii.gz", ".sum")
    assert sorted(p.name for p in folder.iterdir()) == [
        "in.nii.gz",
        "out.nii.gz",
        "out.nii.gz.json",
    ]
    _, seen = run(volume, "out.nii.gz", ".sum")
    assert seen.blocks == 0
    assert (folder / "out.sum").read_text() == str(labels(folder / "out.nii.gz").sum(dtype=int))


def test_a_kill_between_row_and_move_is_mended(volume: Path) -> None:
    """The report names a file before it is in place: it is then missing, and no stranger."""
    folder = volume.parent
    run(volume, "out.nii.gz", ".csv")
    shutil.copy(folder / "out.csv", folder / "kept.csv")
    (folder / "out.csv").unlink()
    run(volume, "out.nii.gz", ".csv")
    assert (folder / "out.csv").read_bytes() == (folder / "kept.csv").read_bytes()


def test_rasters_have_them_too(scene: Path) -> None:
    report, _ = run(scene, "out.zarr", ".tif", ".csv", ".png")
    assert len(report["also"]) == 3
    assert verify_product(scene.parent / "out.zarr")["ok"]
