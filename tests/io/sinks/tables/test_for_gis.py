"""Names and colours of classes where GIS look for them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import rasterio

from seg_batch import predict
from tests.support.files import address_raster, segbatch, write_raster


def test_names_and_colours_lie_beside_a_map(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", address_raster((70, 60), 1, "uint8"))
    out = tmp_path / "map.tif"
    report = predict(scene, out, model="probe", also=(".qml", ".tif.aux.xml"))
    with rasterio.open(out) as file:
        colours = file.colormap(1)
        assert {out.name, f"{out.name}.aux.xml"} == {Path(name).name for name in file.files}
    names = {c["id"]: c["name"] for c in report["classes"]}
    style = ElementTree.parse(tmp_path / "map.qml").getroot()
    entries = style.findall(".//paletteEntry")
    assert {int(e.get("value")): e.get("label") for e in entries} == names
    rgb = "#{:02x}{:02x}{:02x}".format(*colours[3][:3])
    assert next(e for e in entries if e.get("value") == "3").get("color") == rgb
    side = ElementTree.parse(f"{out}.aux.xml").getroot()
    columns = [n.text for n in side.findall(".//FieldDefn/Name")]
    rows = [[f.text for f in row.findall("F")] for row in side.findall(".//Row")]
    assert {int(row[columns.index("VALUE")]): row[columns.index("CLASS")] for row in rows} == names
    assert [int(v) for v in rows[3][2:]] == list(colours[3])
    assert segbatch("verify", out).status == 0
    (tmp_path / "map.tif.aux.xml").unlink()  # a loss for the eye alone
    assert predict(scene, out, model="probe")["seconds"] == 0
