"""Several files as one image: the map is that of one file with all channels, and each file counts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from typer.testing import CliRunner

import seg_batch
from seg_batch.cli.main import app
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import InputError, OutputError, RefusedError, StoreError
from seg_batch.inference.predict import predict_one
from seg_batch.inference.report import Report
from seg_batch.inference.request import Request, prepare
from seg_batch.inference.verify import verify_product
from seg_batch.inference.worker_requirements import shared_requirements
from tests.support.files import address_raster, address_volume, write_raster, write_volume

pytestmark = pytest.mark.full

PLACE = Affine(30, 0, 301905, 0, -30, 4154085)


def card(kind: str, channels: tuple[str, ...]) -> ModelCard:
    rank = 2 if kind == "raster" else 3
    return ModelCard(
        name="largest",
        kind=kind,
        rank=rank,
        channels=channels,
        classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(3)),
        patch=(32,) * rank,
        overlap=(8,) * rank,
        normalisation=Normalisation(kind="identity"),
    )


def by_channels(patches: np.ndarray) -> np.ndarray:
    """The class is a sum of the channels, each with another weight, modulo 3."""
    weights = np.arange(1, patches.shape[-1] + 1)
    label = (np.floor(patches) @ weights).astype(int) % 3
    return np.eye(3, dtype=np.float32)[label]


RASTER = (card("raster", ("red", "nir", "swir")), by_channels)
VOLUME = (card("volume", ("t1c", "flair")), by_channels)


def run(files: list[Path], output: Path, model: Any = RASTER, **fields: Any) -> Report:
    return predict_one(Request(tuple(map(str, files)), str(output), model=model, **fields))


def scene(
    folder: Path, names: tuple[str, ...] = ("red", "nir", "swir"), **profile: Any
) -> list[Path]:
    """One file per channel, and ``all.tif`` with all of them."""
    values = address_raster((70, 90), len(names), "int16")
    write_raster(folder / "all.tif", values, **profile)
    return [
        write_raster(folder / f"{name}.tif", values[n : n + 1], **profile)
        for n, name in enumerate(names)
    ]


def case(folder: Path, ending: str = ".nii") -> list[Path]:
    values, affine = address_volume((20, 22, 24)), np.diag([1.0, 2, 3, 1])
    return [
        write_volume(folder / f"p7_{name}{ending}", values + n, affine)
        for n, name in enumerate(("t1c", "flair"))
    ]


def test_a_stack_of_rasters_is_one_file_with_all_channels(tmp_path: Path) -> None:
    files = scene(tmp_path, nodata=7)
    report = run(files, tmp_path / "stack.tif")
    whole = run([tmp_path / "all.tif"], tmp_path / "whole.tif")
    assert report["product"]["counts"] == whole["product"]["counts"]
    assert report["source"]["channels"] == ["red", "nir", "swir"]
    assert report["source"]["files"] == [str(path) for path in files]
    with rasterio.open(tmp_path / "stack.tif") as product:
        assert product.tags()["SEGBATCH_INPUT"] == "red.tif, nir.tif, swir.tif"
    assert verify_product(tmp_path / "stack.tif")["ok"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_stack_of_volumes_staged_or_not(tmp_path: Path, ending: str) -> None:
    files = case(tmp_path, ending)
    report = run(files, tmp_path / "out.nii", VOLUME, keep_store=True)
    a, b = (np.asarray(nibabel.load(path).dataobj, np.int64) for path in files)
    labels = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj)
    np.testing.assert_array_equal(labels, (a + 2 * b) % 3)
    copies = {path.name for path in (tmp_path / "out.nii.staged").glob("*.nii")}
    assert len(copies) == (2 if ending == ".nii.gz" else 0)
    voxels = 20 * 22 * 24
    promised = report["plan"]["disk_bytes"] - 3 * voxels
    assert promised == (2 * voxels * 2 if ending == ".nii.gz" else 0)


def test_a_changed_file_is_noticed_whichever_it_is(tmp_path: Path) -> None:
    files, out = scene(tmp_path), tmp_path / "out.tif"
    run(files, out)
    assert run(files, out)["seconds"] == 0
    os.utime(files[1], ns=(1, 1))
    checks = {c["name"]: c for c in verify_product(out)["checks"]}
    assert not checks["input"]["ok"]
    assert checks["input"]["found"] == f"{files[1]} has changed since"
    with pytest.raises(StoreError, match="another plan"):
        run(files, out)
    assert run(files, out, overwrite=True)["seconds"] > 0
    files[2].unlink()
    checks = {c["name"]: c for c in verify_product(out)["checks"]}
    assert checks["input"]["found"] == f"{files[2]} is gone: not checked"


def test_no_file_of_a_stack_is_written_over(tmp_path: Path) -> None:
    files = scene(tmp_path)
    for path in files:
        before = path.read_bytes()
        with pytest.raises(OutputError, match="holds the input"):
            run(files, path, overwrite=True)
        assert path.read_bytes() == before


def test_workers_must_see_all_files_and_those_beside_them(tmp_path: Path) -> None:
    files = scene(tmp_path)
    (tmp_path / "nir.tif.aux.xml").write_text("<PAMDataset/>")
    needs = shared_requirements([Request(tuple(map(str, files)), model="probe")])
    assert needs.inputs == (*map(str, files), str(tmp_path / "nir.tif.aux.xml"))


def test_names_of_products(tmp_path: Path) -> None:
    def product(*files: Path) -> str:
        model = VOLUME if files[0].suffix == ".nii" else RASTER
        request = Request(tuple(map(str, files)), f"{tmp_path}/out/", model=model)
        return prepare(request).outputs.product.name

    assert product(*scene(tmp_path)) == "red_labels.tif"
    assert product(*case(tmp_path)) == "p7_labels.nii.gz"


def test_stacks_that_are_none_are_refused_before_any_work(tmp_path: Path) -> None:
    red, nir, _ = scene(tmp_path)
    values = address_raster((70, 90), 1, "int16")
    moved = write_raster(tmp_path / "m.tif", values, transform=PLACE @ Affine.translation(2e-6, 0))
    near = write_raster(tmp_path / "n.tif", values, transform=PLACE @ Affine.translation(5e-7, 0))
    link = tmp_path / "link.tif"
    link.symlink_to(red)
    torn = tmp_path / "torn.tif"
    torn.write_bytes(b"II*\0")
    wrong: list[tuple[list[Path], str]] = [
        ([red, nir, moved], "m.tif can't be stacked on .*red.tif .affines differ by 2e-06 pixels"),
        ([red, nir, red], "red.tif is named twice"),
        ([red, link, nir], "link.tif and .*red.tif are one file"),
        ([red, nir, torn], "torn.tif"),
        ([red, nir, tmp_path / "none.tif"], "none.tif"),
        ([red, nir], "needs 3 channels .red, nir, swir. and the input has 2"),
    ]
    for files, said in wrong:
        with pytest.raises(RefusedError, match=said) as caught:
            run(files, tmp_path / "out" / "o.tif")
        assert "\n" not in caught.value.message
        assert caught.value.status == 2
    assert not (tmp_path / "out").exists()
    assert run([red, nir, near], tmp_path / "o.tif")["status"] == "complete"


def test_affines_of_volumes_are_equal_within_a_ten_thousandth(tmp_path: Path) -> None:
    first = case(tmp_path)[0]
    for shift, fits in ((5e-5, True), (2e-4, False)):
        affine = np.diag([1.0, 2, 3, 1])
        affine[0, 3] = shift
        other = write_volume(tmp_path / "o.nii", address_volume((20, 22, 24)), affine)
        request = Request((str(first), str(other)), model=VOLUME)
        if fits:
            prepare(request)
        else:
            with pytest.raises(InputError, match=r"affines differ by 0.0002 mm"):
                prepare(request)


def test_stack_in_python_and_on_the_command_line(tmp_path: Path) -> None:
    files = scene(tmp_path)
    report = seg_batch.predict(files, tmp_path / "python.tif", model="probe")
    names = [str(path) for path in files]
    out = tmp_path / "command.tif"
    options = ["--stack", "--model", "probe", "--cluster", "inline"]
    planned = CliRunner().invoke(app, ["plan", *names, *options, "-o", str(out), "--json"])
    assert '"input": "' + ", ".join(names) + '"' in planned.stdout
    ran = CliRunner().invoke(app, ["predict", *names, *options, "-o", str(out), "-q"])
    assert ran.exit_code == 0
    assert out.read_bytes() == (tmp_path / "python.tif").read_bytes()
    assert report["input"] == ", ".join(names)
    with pytest.raises(InputError, match="no file"):
        seg_batch.predict([])


def test_a_case_in_folders_of_its_channels(tmp_path: Path) -> None:
    first, second = case(tmp_path)
    places = [tmp_path / name / "p7.nii" for name in ("t1c", "flair")]
    for path, place in zip((first, second), places, strict=True):
        place.parent.mkdir()
        shutil.move(path, place)
    prepared = prepare(Request(tuple(map(str, places)), f"{tmp_path}/", model=VOLUME))
    assert prepared.info.channels == ("t1c", "flair")
    assert prepared.outputs.product.name == "p7_labels.nii.gz"


SWIR = (card("raster", ("red", "nir", "swir16")), by_channels)


def put(folder: Path, **channels: int) -> list[str]:
    """Files of these names; each holds the channel of this number."""
    values = address_raster((70, 90), 4, "int16")
    paths = {name: folder / f"{name}.tif" for name in channels}
    return [str(write_raster(paths[name], values[[n]])) for name, n in channels.items()]


@pytest.mark.parametrize(
    "names",
    [
        {"s_red": 0, "s_nir": 1, "s_swir16": 2},
        {"s_swir16": 2, "s_red": 0, "s_nir": 1},
        {"s_green": 3, "s_nir": 1, "s_red": 0, "s_swir16": 2},
        {"c_0001": 1, "c_0002": 2, "c_0000": 0},
        {"x": 0, "y": 1, "z": 2},
    ],
)
def test_files_that_are_named_as_channels_are_taken_by_name(
    tmp_path: Path, names: dict[str, int]
) -> None:
    reads = run(scene(tmp_path), tmp_path / "straight.tif")["product"]["counts"]
    report = predict_one(Request(tuple(put(tmp_path, **names)), f"{tmp_path}/o.tif", model=SWIR))
    assert report["product"]["counts"] == reads
    said = [line for line in report["source"]["warnings"] if "by name" in line]
    assert len(said) == ([*names.values()] != [0, 1, 2])
    assert verify_product(tmp_path / "o.tif")["ok"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"s_red": 0, "s_nir": 1}, "none of which is named as swir16"),
        ({"s_red": 0, "s_nir": 1, "s_green": 2}, "none is named as swir16"),
        ({"s_red": 0, "s_nir_red": 1, "s_nir": 2}, "both named as nir"),
        ({"s_nir": 1, "s_red": 0, "s_other": 2}, "none is named as swir16"),
        ({"c_0000": 0, "c_0001": 1, "c_0003": 2}, "numbered 0000, 0001, 0003, and .* to 0002"),
    ],
)
def test_a_channel_that_is_missing_doubled_or_swapped_is_named(
    tmp_path: Path, names: dict[str, int], said: str
) -> None:
    with pytest.raises(RefusedError, match=said):
        predict_one(Request(tuple(put(tmp_path, **names)), f"{tmp_path}/o.tif", model=SWIR))


def test_a_file_called_as_a_channel_is_that_channel(tmp_path: Path) -> None:
    model = (card("raster", ("sentinel_red", "sentinel_nir")), by_channels)
    files = put(tmp_path, sentinel_nir=1, sentinel_red=0)
    predict_one(Request(tuple(files), f"{tmp_path}/o.tif", model=model))
    predict_one(Request(tuple(files[::-1]), f"{tmp_path}/p.tif", model=model))
    with rasterio.open(tmp_path / "o.tif") as a, rasterio.open(tmp_path / "p.tif") as b:
        np.testing.assert_array_equal(a.read(1), b.read(1))
