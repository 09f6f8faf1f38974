"""Only an area: inside it the bytes of a run without it, outside nodata; what no tile needs is not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

import seg_batch
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.image_options.scene import AreaOptions
from seg_batch.core.errors import InputError, StoreError
from seg_batch.core.geometry import Box
from seg_batch.inference import worker
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source
from seg_batch.io.sources.protocol import Source
from seg_batch.io.sources.tolerant_read import read_window
from seg_batch.io.vectors.area_reading import area_of

SIDES = (1500, 1100)
PLACE = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_900_000, 10, 10)}
RING = [(130.2, 90.4), (322.0, 120.1), (301.7, 1210.3), (160.9, 820.2)]  # pixels: x, y


def card(**changed: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "halo",
        "kind": "raster",
        "rank": 2,
        "patch": (128, 128),
        "overlap": (32, 32),
        "channels": ("a",),
        "classes": tuple(ClassInfo(id=k, name=f"k{k}", colour=(k, k, k)) for k in range(4)),
        "normalisation": Normalisation(kind="identity"),
    }
    return ModelCard(**{**fields, **changed})


def blurred(patches: np.ndarray) -> np.ndarray:
    """A model that sees 8 pixels around each, and another thing at each place of a patch."""
    sums = sum(np.roll(patches[..., 0], (dy, dx), (1, 2)) for dy in (-8, 0, 8) for dx in (-8, 0, 5))
    scores = np.stack([(sums * k + np.arange(128)) % 251 + 1 for k in (1, 7, 11, 13)], -1)
    return (scores / scores.sum(-1, keepdims=True)).astype("f4")


MODEL = (card(), blurred)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Each pixel of a number of its own, with a corner of nodata; tiles of 64."""
    y, x = np.mgrid[: SIDES[0], : SIDES[1]]
    values = ((y * 7919 + x * 104729) % 60_013 + 1).astype("uint16")
    values[:150, :180] = 0
    size: dict[str, Any] = {"height": SIDES[0], "width": SIDES[1], "count": 1, "dtype": "uint16"}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", **size, **tiles, **PLACE) as f:
        f.write(values, 1)
    return tmp_path / "scene.tif"


def area_file(folder: Path, ring: list[tuple[float, float]] = RING, name: str = "area") -> str:
    corners = [[300_000 + 10 * x, 5_900_000 - 10 * y] for x, y in (*ring, ring[0])]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    geometry = {"type": "Polygon", "coordinates": [corners]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    text = json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]})
    (folder / f"{name}.geojson").write_text(text)
    return str(folder / f"{name}.geojson")


def mask_of(scene: Path, aoi: str) -> np.ndarray:
    source = open_source(scene)
    area, _ = area_of(AreaOptions(aoi=aoi), source.info)
    source.close()
    assert area is not None
    return area.mask(Box.whole(SIDES))


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "block", [(1024, 1024), pytest.param((2048, 2048), marks=pytest.mark.full)]
)
def test_inside_the_bytes_are_those_of_the_whole(
    scene: Path, tmp_path: Path, block: tuple[int, int]
) -> None:
    aoi, more = area_file(tmp_path), {"model": MODEL, "probabilities": True, "block": block}
    seg_batch.predict(scene, tmp_path / "whole.tif", **more)
    report = seg_batch.predict(scene, tmp_path / "part.tif", aoi=aoi, **more)
    mask = mask_of(scene, aoi)
    for name, outside in (("{}.tif", 255), ("{}_probabilities.tif", 0)):
        whole, part = (read(tmp_path / name.format(n)) for n in ("whole", "part"))
        assert np.array_equal(part, np.where(mask, whole, outside))
    assert report["tiles_predicted"] < report["n_tiles"]
    assert report["blocks"].get("outside", 0) == {1024: 2, 2048: 0}[block[0]]
    assert verify_product(tmp_path / "part.tif")["ok"]


def test_the_cut_is_the_cut_of_the_whole(scene: Path, tmp_path: Path) -> None:
    aoi, more = (
        area_file(tmp_path),
        {"model": MODEL, "probabilities": True, "also": [".csv"]},
    )
    seg_batch.predict(scene, tmp_path / "whole.tif", aoi=aoi, **more)
    seg_batch.predict(scene, tmp_path / "cut.tif", aoi=aoi, crop=True, **more)
    rows, columns = np.nonzero(mask_of(scene, aoi))
    y, x = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    for name in ("{}.tif", "{}_probabilities.tif"):
        whole, cut = (read(tmp_path / name.format(n)) for n in ("whole", "cut"))
        assert np.array_equal(cut, whole[:, y, x])
    with rasterio.open(tmp_path / "cut.tif") as file:
        assert file.transform == PLACE["transform"] @ file.transform.translation(x.start, y.start)
        assert file.crs == PLACE["crs"]
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert verify_product(tmp_path / "cut.tif")["ok"]
    again = seg_batch.predict(scene, tmp_path / "cut.tif", aoi=aoi, crop=True, **more)
    assert again["seconds"] == 0.0


def test_no_more_is_read_than_tiles_of_the_area_see(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A band from corner to corner: no pixel is read twice for a block, and few are at all."""
    aoi = area_file(tmp_path, [(0, 0), (9, 0), (1100, 1490), (1100, 1500), (1090, 1500), (0, 9)])
    boxes = list[Box]()

    def noted(source: Source, window: Box) -> Any:
        boxes.append(window)
        return read_window(source, window)

    monkeypatch.setattr(worker, "read_window", noted)
    seg_batch.predict(scene, tmp_path / "out.tif", model=MODEL, block=(2048, 2048), aoi=aoi)
    seen = np.zeros(SIDES, int)
    for box in boxes:
        seen[box.slices()] += 1
    assert 0 < seen.mean() < 0.55
    assert seen.max() == 1


def test_what_lies_outside_may_be_damaged(scene: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tif"
    rasterio.shutil.copy(scene, packed, driver="GTiff", tiled=True, blockxsize=64, blockysize=64, compress="deflate")  # fmt: skip
    with rasterio.open(packed) as file:
        at = int(file.get_tag_item("BLOCK_OFFSET_9_20", "TIFF", bidx=1))
    data = bytearray(packed.read_bytes())
    data[at + 5 : at + 60] = b"\xff" * 55
    packed.write_bytes(data)
    aoi = area_file(tmp_path, [(200, 200), (240, 200), (240, 300)])
    report = seg_batch.predict(packed, tmp_path / "part.tif", model=MODEL, aoi=aoi)
    assert report["status"] == "complete"
    seg_batch.predict(scene, tmp_path / "of_whole.tif", model=MODEL, aoi=aoi)
    assert np.array_equal(read(tmp_path / "part.tif"), read(tmp_path / "of_whole.tif"))


def test_another_area_is_another_plan(scene: Path, tmp_path: Path) -> None:
    out, aoi = tmp_path / "out.tif", area_file(tmp_path)
    other = area_file(tmp_path, [(x + 1, y) for x, y in RING], "other")
    seg_batch.predict(scene, out, model=MODEL, aoi=aoi)
    for changed in ({"aoi": other}, {}, {"aoi": aoi, "crop": True}):
        with pytest.raises(StoreError, match="--overwrite"):
            seg_batch.predict(scene, out, model=MODEL, **changed)
    seg_batch.predict(scene, out, model=MODEL, aoi=other, overwrite=True)
    assert seg_batch.predict(scene, out, model=MODEL, aoi=other)["seconds"] == 0.0


def test_numbers_of_the_image_are_those_of_the_whole(scene: Path, tmp_path: Path) -> None:
    model = card(normalisation=Normalisation(kind="source")), blurred
    aoi = area_file(tmp_path)
    seg_batch.predict(scene, tmp_path / "whole.tif", model=model)
    report = seg_batch.predict(scene, tmp_path / "part.tif", model=model, aoi=aoi)
    assert any("read once" in line for line in report["source"]["warnings"])
    mask = mask_of(scene, aoi)
    whole, part = (read(tmp_path / f"{n}.tif")[0] for n in ("whole", "part"))
    assert np.array_equal(part[mask], whole[mask])


def test_steps_after_prediction_end_at_the_area(scene: Path, tmp_path: Path) -> None:
    aoi = area_file(tmp_path)
    seg_batch.predict(
        scene, tmp_path / "out.tif", model=MODEL, aoi=aoi, post=("majority:3", "min_size:9")
    )
    out, mask = read(tmp_path / "out.tif")[0], mask_of(scene, aoi)
    assert (out[~mask] == 255).all()
    assert (out[mask][:1000] != 255).any()


def test_a_volume_has_no_area(volume: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a volume"):
        seg_batch.predict(volume, tmp_path / "o.nii.gz", model="probe", bbox=(1.0, 2.0, 3.0, 4.0))
    assert not (tmp_path / "o.nii.gz").exists()
