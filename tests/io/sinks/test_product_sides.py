"""A product is read as it was written: with its own side files, without those of an earlier one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import rasterio

from seg_batch.core.errors import OutputError
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.inference.outputs import Outputs, is_intact, read_report
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.verify import verify_product
from seg_batch.io.sinks.product_sides import (
    drop_side_files,
    left_side_files,
    require_no_foreign_side_files,
    side_file_changes,
)
from seg_batch.io.sinks.publish import atomic_replace, restore_and_clean
from tests.support.files import address_raster, write_raster

PLACED = RasterGeoref(transform=(10.0, 0.0, 5e5, 0.0, -10.0, 6e6))
WORLD = "2.0\n0\n0\n-2.0\n100\n200\n"
MOVED = "<PAMDataset><GeoTransform>5,1,0,5,0,-1</GeoTransform></PAMDataset>"
SEEN = '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">1</MDI></Metadata></PAMRasterBand></PAMDataset>'
NODATA = (
    '<PAMDataset><PAMRasterBand band="1"><NoDataValue>3</NoDataValue></PAMRasterBand></PAMDataset>'
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def publish(path: Path, text: str, **sides: str) -> None:
    with atomic_replace(path) as part:
        part.write_text("x")
        part.with_name(part.name + ".aux.xml").write_text("GDAL's")
        drop_side_files(part)
        part.write_text(text)
        for ending, content in sides.items():
            part.with_name(f"{part.name}.{ending.replace('_', '.')}").write_text(content)


def test_side_files_go_and_come_with_the_output(tmp_path: Path) -> None:
    path = tmp_path / "o.tif"
    others = {"o.tif.json", "o.prj", "o.txt", "p.tif.aux.xml", "o.tab", "o.rpb"}
    for name in ("o.tif", "o.tif.aux.xml", "o.tif.msk", "o.tif.ovr", "o.tfw", *others):
        (tmp_path / name).write_text("old")
    publish(path, "first", aux_xml="of the first")
    assert names(tmp_path) == {"o.tif", "o.tif.aux.xml", *others}
    assert (tmp_path / "o.tif.aux.xml").read_text() == "of the first"
    publish(path, "second")
    assert names(tmp_path) == {"o.tif", *others}
    assert path.read_text() == "second"


def test_a_world_file_of_another_image_stays(tmp_path: Path) -> None:
    for name in ("o.wld", "o.tfw", "o.png", "o.tif"):
        (tmp_path / name).write_text("x")
    assert [path.name for path in left_side_files(tmp_path / "o.tif")] == ["o.tfw"]
    require_no_foreign_side_files(tmp_path / "o.tif", PLACED)  # it has its place inside
    require_no_foreign_side_files(tmp_path / "o.nii", VolumeGeoref(((1.0, 0, 0, 0),) * 4))
    with pytest.raises(OutputError, match=r"o\.wld, which is of o\.png,.*another output"):
        require_no_foreign_side_files(tmp_path / "o.tif", RasterGeoref())
    (tmp_path / "o_RPC.TXT").write_text("x")
    with pytest.raises(OutputError, match=r"o_RPC\.TXT.* would be read"):
        require_no_foreign_side_files(tmp_path / "o.tif", PLACED)
    (tmp_path / "o_RPC.TXT").unlink()
    for name in ("O.tif", "O.tif.msk", "o.nii.gz.msk"):  # GDAL does not look at the case of names
        (tmp_path / name).write_text("x")
    assert not left_side_files(tmp_path / "o.nii.gz"), "nothing reads it so"
    with pytest.raises(OutputError, match=r"O\.tif\.msk, which is of O\.tif, would"):
        require_no_foreign_side_files(tmp_path / "o.tif", PLACED)


def _die_at(step: int) -> None:
    """End this process like a kill at the ``step``-th change of a name."""
    left = [step]

    def dying(function):
        def call(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return function(*arguments, **options)

        return call

    os.replace, os.rename = dying(os.replace), dying(os.rename)


@pytest.mark.filterwarnings("ignore:This process")  # the child changes names, and is gone
@pytest.mark.parametrize("earlier", [True, False])
def test_a_kill_between_the_moves_leaves_no_mixture(tmp_path: Path, earlier: bool) -> None:
    for step in range(12):
        folder = tmp_path / f"{step}"
        folder.mkdir()
        path = folder / "o.tif"
        if earlier:
            publish(path, "old", aux_xml="of the old", msk="of the old")
        pid = os.fork()
        if not pid:
            _die_at(step)
            publish(path, "new", aux_xml="of the new")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if path.exists():  # what a user sees before anything is mended
            _assert_of_one(path)
        restore_and_clean(path)
        if status == 0:
            assert _assert_of_one(path) == "new"
            break
        if earlier or path.exists():
            _assert_of_one(path)
        assert not (folder / "o.tif.part").exists()
    else:
        raise AssertionError("it never ended")
    assert step >= (5 if earlier else 2), "it was killed at each"


def _assert_of_one(path: Path) -> str:
    text = path.read_text()
    sides = {p.name: p.read_text() for p in path.parent.glob("o.tif.*") if p.is_file()}
    expected = {"new": ["o.tif.aux.xml"], "old": ["o.tif.aux.xml", "o.tif.msk"]}[text]
    assert sides == dict.fromkeys(expected, f"of the {text}")
    return text


@pytest.mark.parametrize("step", range(7))
def test_an_interrupt_between_the_moves_loses_nothing(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, left, replace = tmp_path / "o.tif", [step], os.replace
    publish(path, "old", aux_xml="of the old", msk="of the old")

    def interrupted(*arguments: Path) -> None:
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr(os, "replace", interrupted)
    with suppress(KeyboardInterrupt):
        publish(path, "new", aux_xml="of the new")
    assert _assert_of_one(path) == ("new" if step > 4 else "old")
    assert not (tmp_path / "o.tif.part").exists()


def test_a_product_with_side_files_that_change_it_is_not_verified(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", address_raster((40, 30), 3, "uint16"))
    request = Request(str(scene), str(tmp_path / "out" / "o.tif"), model="probe")
    predict_one(request)
    product = tmp_path / "out" / "o.tif"
    written = product.read_bytes()
    assert verify_product(product)["ok"]
    for name, text, harmless in (
        ("o.tif.aux.xml", SEEN, True),
        ("o.tfw", WORLD, True),  # the product has its place inside
        ("o.tif.aux.xml", NODATA, False),
        ("o.tif.aux.xml", MOVED, False),
    ):
        (product.with_name(name)).write_text(text)
        assert verify_product(product)["ok"] is harmless, text
        report = read_report(Outputs(product))
        assert report is not None
        assert is_intact(Outputs(product), report) is harmless
    assert predict_one(request)["blocks"]["resumed"] == 0, "it is made again"
    assert product.read_bytes() == written
    assert names(product.parent) == {"o.tif", "o.tif.json"}
    with rasterio.open(product) as file:
        assert file.nodata == 255


def test_side_files_of_ours_are_part_of_the_product(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "o.tif", address_raster((8, 8), 1, "uint8"))
    aux = tmp_path / "o.tif.aux.xml"
    assert side_file_changes(path, {aux.name: "0"}) == ["o.tif.aux.xml is gone"]
    aux.write_text(MOVED)
    assert side_file_changes(path, {aux.name: "0"}) == ["o.tif.aux.xml has changed"]
    assert side_file_changes(path, {}) == ["o.tif.aux.xml changes how it is read"]


def test_a_world_file_or_a_table_without_an_output_stays(tmp_path: Path) -> None:
    table = 'Definition Table\n  Type NATIVE Charset "Neutral"\n  Fields 1\n    Label Char (64) ;\n'
    (tmp_path / "o.tab").write_text(table)  # a layer of MapInfo, which no raster is read with
    (tmp_path / "o.tfw").write_text(WORLD)
    with pytest.raises(OutputError, match=r"o\.tfw would be read as part of o\.tif"):
        require_no_foreign_side_files(tmp_path / "o.tif", RasterGeoref())
    require_no_foreign_side_files(tmp_path / "o.tif", PLACED)
    publish(tmp_path / "o.tif", "first")
    assert names(tmp_path) == {"o.tab", "o.tfw", "o.tif"}
    publish(tmp_path / "o.tif", "second")
    assert names(tmp_path) == {"o.tab", "o.tif"}
