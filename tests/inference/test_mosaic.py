"""A scene in pieces is predicted as the whole is: to the last pixel, whatever the blocks, and again after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

import seg_batch
from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.core.errors import OutputError, StoreError
from seg_batch.core.run_files import TILES
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.verify import verify_product
from tests.inference.test_resume import killed_after
from tests.support.files import address_raster, write_raster
from tests.support.io.mosaics import COLUMNS, HOLE, PLACE, ROWS, cut, with_hole

pytestmark = pytest.mark.full  # whole commands

CARD = ModelCard(
    name="around",
    kind="raster",
    rank=2,
    channels=("red", "nir"),
    classes=tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(5)),
    patch=(64, 64),
    overlap=(32, 32),
    normalisation=Normalisation(kind="identity"),
)


def around(patches: np.ndarray) -> np.ndarray:
    """The class is that of a sum over 5 x 5 pixels, and of the place within the patch."""
    side, sums = 2, np.zeros(patches.shape[:-1])
    padded = np.pad(patches.sum(-1), ((0, 0), (side, side), (side, side)))
    for y in range(2 * side + 1):
        for x in range(2 * side + 1):
            sums += (1 + y + 2 * x) * padded[:, y : y + patches.shape[1], x : x + patches.shape[2]]
    sums += np.arange(patches.shape[1])[:, None] / 64
    scores = np.stack([np.cos(sums / 900 + k) + 1.5 for k in range(5)], -1)
    return (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


TIMES = 5
SCENE = address_raster((260 * TIMES, 330 * TIMES), 2, "uint16") + 1
BLOCK = (1024, 1024)
MODEL: Any = (CARD, around)


def mapped(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        values: np.ndarray = file.read(1)
    return values


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The map of the scene in one file, in which the hole is nodata."""
    folder = tmp_path_factory.mktemp("whole")
    path = write_raster(folder / "whole.tif", with_hole(SCENE, 0, TIMES), transform=PLACE, nodata=0)
    seg_batch.predict(path, folder / "map.tif", model=MODEL, block=BLOCK)
    return mapped(folder / "map.tif")


def pieces_of(folder: Path) -> list[str]:
    return [*map(str, cut(SCENE, folder, nodata=0, times=TIMES))]


def box_of(path: Path) -> tuple[slice, slice]:
    i, j = (int(letter) for letter in path.name.removeprefix("region_")[:2])
    rows, columns = (
        slice(*(TIMES * n for n in ends)) for ends in (ROWS[i : i + 2], COLUMNS[j : j + 2])
    )
    return rows, columns


def test_a_scene_in_pieces_is_the_whole(tmp_path: Path, whole: np.ndarray) -> None:
    """The map, the map of each piece, their places, and what is told of them."""
    paths, tiles = pieces_of(tmp_path / "in"), tmp_path / "tiles"
    report = seg_batch.predict(
        paths,
        tmp_path / "out.tif",
        model=MODEL,
        mosaic=True,
        tiles_out=str(tiles),
        block=(1024, 2048),
    )
    assert np.array_equal(mapped(tmp_path / "out.tif"), whole)
    hole = mapped(tmp_path / "out.tif")[box_of(Path("region_{}{}".format(*HOLE)))]
    assert report["blocks"]["total"] > 1
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.transform == PLACE
        assert (hole == file.nodata).all()
    made = sorted(tiles.glob("*.tif"))
    assert [p.name for p in made] == [f"{Path(p).stem}_labels.tif" for p in paths]
    for path, tile in zip(paths, made, strict=True):
        assert np.array_equal(mapped(tile), whole[box_of(Path(path))])
        with rasterio.open(path) as before, rasterio.open(tile) as after:
            assert (before.transform, before.crs) == (after.transform, after.crs)
            assert after.tags()["SEGBATCH_INPUT"] == Path(path).name
    borders = report["file_borders"]
    assert borders["index"] is not None
    assert borders["index"] <= 1.1
    assert borders["pairs"]["border"] > 1000
    assert report["tiles"]["files"] == 19
    assert report["source"]["mosaic"] == 19
    assert report["input"] == f"{paths[0]} and 18 more"
    assert verify_product(tmp_path / "out.tif")["ok"]


def test_flips_at_file_borders_are_counted_as_they_are(tmp_path: Path) -> None:
    """Against a count pixel by pixel; pieces that are maps of their own flip at each border."""
    tiled = np.zeros((1, 96, 128), np.uint8)
    for n in range(12):
        row, column = n // 4 * 32, n % 4 * 32
        tiled[0, row : row + 32, column : column + 32] = 1 + n % 7
        tiled[0, row + 5 : row + 9, column + 3 : column + 13] = 0
    paths = []
    for n in range(12):
        row, column = n // 4 * 32, n % 4 * 32
        part = tiled[:, row : row + 32, column : column + 32]
        place = PLACE @ rasterio.Affine.translation(column, row)
        paths.append(str(write_raster(tmp_path / f"p{n:02}.tif", part, transform=place)))
    report = seg_batch.predict(paths, tmp_path / "o.tif", model="probe", mosaic=True)
    labels, owner = (
        mapped(tmp_path / "o.tif"),
        np.add.outer(np.arange(96) // 32 * 4, np.arange(128) // 32),
    )
    counts = np.zeros((2, 2), int)
    for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        for border, flip in zip(
            (owner[a] != owner[b]).flat, (labels[a] != labels[b]).flat, strict=True
        ):
            counts[int(not border)] += 1, flip
    borders = report["file_borders"]
    assert [*borders["pairs"].values()] == counts[:, 0].tolist()
    assert [*borders["flips"].values()] == counts[:, 1].tolist()
    assert borders["index"] > 5


def test_maps_of_pieces_are_made_again_only_where_they_lack(tmp_path: Path) -> None:
    paths, tiles = pieces_of(tmp_path / "in")[:6], tmp_path / "tiles"

    def again(**more: Any) -> Any:
        return seg_batch.predict(
            paths, tmp_path / "o.tif", model="probe", mosaic=True, tiles_out=str(tiles), **more
        )

    before = again()
    times = {path: path.stat().st_mtime_ns for path in tiles.iterdir()}
    gone = tiles / "region_02_labels.tif"
    gone.unlink()
    with (tiles / TILES).open("a") as file:
        file.write('{"file": "region_0')  # cut off by a kill
    assert again()["tiles"] == before["tiles"]
    now = {path: path.stat().st_mtime_ns for path in tiles.glob("*.tif")}
    assert {path for path in now if now[path] != times[path]} == {gone}
    assert len((tiles / TILES).read_text().splitlines()) == 6
    shutil.copy(paths[0], gone)
    with pytest.raises(OutputError, match=r"region_02_labels\.tif exists and is no unchanged map"):
        again()
    again(overwrite=True)
    assert mapped(gone).shape == mapped(Path(paths[2])).shape


@pytest.mark.parametrize("change", ["content", "added", "removed", "order"])
def test_another_mosaic_does_not_go_on(tmp_path: Path, change: str) -> None:
    paths = pieces_of(tmp_path / "in")
    base = paths[:8]
    predict_one(Request(tuple(base), str(tmp_path / "o.tif"), model="probe", mosaic=True))
    if change == "content":
        with rasterio.open(base[3], "r+") as file:
            file.write(file.read() + 1)
    others = {"content": base, "added": paths[:9], "removed": base[:7], "order": base[::-1]}[change]
    with pytest.raises(StoreError, match="was begun with another plan"):
        predict_one(Request(tuple(others), str(tmp_path / "o.tif"), model="probe", mosaic=True))


def test_what_contradicts_a_mosaic_is_refused(tmp_path: Path, run: Any) -> None:
    paths = pieces_of(tmp_path / "in")[:3]
    (tmp_path / "b").mkdir()
    twin = shutil.copy(paths[0], tmp_path / "b")
    start = ("predict", *paths, "-o", tmp_path / "o.tif", "--model", "probe")
    for more, said in (
        (("--mosaic", "--stack"), "leave out one"),
        (("--tiles-out", tmp_path / "t"), "give --mosaic"),
        (("--mosaic", paths[0]), "is named twice"),
        (("--mosaic", "--order", "date"), "neither its name nor its metadata holds a date"),
        (("--mosaic", "--volume", "0"), "leave out --volume"),
        (("--mosaic", "--tiles-out", tmp_path / "t", twin), "would have one map"),
    ):
        ran = run(*start, *more)
        assert ran.status == 2, ran.out
        assert said in ran.err
        assert ran.err.count("\n") == 1
    assert not list(tmp_path.glob("o.tif*"))
    assert not list(tmp_path.glob("t/*"))


def test_plan_and_predict_from_the_command_line(tmp_path: Path, run: Any) -> None:
    paths = pieces_of(tmp_path / "in")
    ran = run("plan", "--mosaic", *paths, "--model", "probe", "--json")
    assert ran.status == 0, ran.err
    assert ran.json["input"] == f"{paths[0]} and 18 more"
    assert Path(ran.json["output"]).name == "region_labels.tif" or "region" in ran.json["output"]
    assert len(json.dumps(ran.json)) < 20_000
    ran = run("predict", "--mosaic", *paths, "-o", tmp_path / "o.tif", "--model", "probe")
    assert ran.status == 0, ran.err
    assert "file borders: x" in ran.out


def test_workers_give_the_same_bytes(tmp_path: Path, run: Any) -> None:
    paths = pieces_of(tmp_path / "in")
    for name, more in (
        ("one", ()),
        ("two", ("--cluster", "local", "--workers", "2", "--block", "1024,1024")),
    ):
        ran = run(
            "predict",
            "--mosaic",
            *paths,
            "-o",
            tmp_path / name / "o.tif",
            "--model",
            "probe",
            *more,
        )
        assert ran.status == 0, ran.err
    assert np.array_equal(mapped(tmp_path / "one/o.tif"), mapped(tmp_path / "two/o.tif"))


def test_a_killed_run_goes_on(tmp_path: Path, run: Any) -> None:
    """From the blocks that are done, to the bytes of a run that was not killed."""
    paths, out = pieces_of(tmp_path / "in"), tmp_path / "out.tif"
    arguments = [
        "predict",
        "--mosaic",
        *paths,
        "--model",
        "probe",
        "--block",
        "1024,1024",
        "--json",
    ]
    start = [sys.executable, "-m", "seg_batch", *arguments, "-o", str(out)]
    assert killed_after(2, start, out, signal.SIGKILL) == -9
    again = run(*arguments, "-o", out, "--tiles-out", tmp_path / "tiles")
    assert again.status == 0, again.err
    assert again.json["blocks"]["resumed"] >= 2
    assert run(*arguments, "-o", tmp_path / "clean.tif").status == 0
    assert np.array_equal(mapped(out), mapped(tmp_path / "clean.tif"))
    assert len([*(tmp_path / "tiles").glob("*.tif")]) == 19
    assert not list(tmp_path.glob("out.tif.*.*"))
