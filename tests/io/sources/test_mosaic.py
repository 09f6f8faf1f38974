"""Reading across the pieces of a mosaic: as one array, with holes and overlaps, on one grid or refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from seg_batch.config.image_options.scene import SceneOptions
from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.io.sources.mosaic import handles
from seg_batch.io.sources.mosaic.order import date_of
from seg_batch.io.sources.mosaic.source import MosaicSource, open_mosaic, stage_mosaic
from seg_batch.io.sources.views.image_spec import ImageSpec
from tests.support.files import address_raster, write_raster
from tests.support.io.mosaics import COLUMNS, HOLE, PLACE, ROWS, cut, drawn, with_hole

SCENE = address_raster((260, 330), 2, "uint16")


def opened(paths: list[Path], **scene: object) -> MosaicSource:
    return open_mosaic([*map(str, paths)], None, SceneOptions(**scene))  # type: ignore[arg-type]


def shown(source: MosaicSource) -> np.ndarray:
    """All of it, -1 where it is not valid: ``(channels, y, x)``."""
    pixels = source.read(Box.whole(source.info.extent))
    values = pixels.values.astype(np.int64)
    return np.moveaxis(
        values if pixels.valid is None else np.where(pixels.valid, values, -1), -1, 0
    )


def put(path: Path, values: np.ndarray, row: float, column: float, **more: object) -> Path:
    values = values if values.ndim == 3 else values[None]
    return write_raster(path, values, transform=PLACE @ Affine.translation(column, row), **more)


def test_every_box_is_that_of_the_whole(tmp_path: Path) -> None:
    paths = cut(SCENE, tmp_path)
    rng, wanted = np.random.default_rng(5), with_hole(SCENE.astype(np.int64), -1)
    with closing(opened(paths[::-1])) as source:
        assert source.info.extent == SCENE.shape[1:]
        assert source.info.georef.transform == tuple(PLACE)[:6]
        assert np.array_equal(shown(source), wanted)
        for _ in range(60):
            ends = np.sort(rng.integers(0, (261, 331), (2, 2)), axis=0)
            box = Box(tuple(ends[0].tolist()), tuple((np.maximum(ends[1], ends[0] + 1)).tolist()))
            box = box.intersection(Box.whole(source.info.extent))
            if box.size:
                pixels = source.read(box)
                valid = np.ones(pixels.values.shape, bool) if pixels.valid is None else pixels.valid
                seen = np.where(valid, pixels.values.astype(np.int64), -1)
                assert np.array_equal(
                    np.moveaxis(seen, -1, 0), wanted[(slice(None), *box.slices())]
                )
                assert source.known_empty(box) == (not valid.any())


def test_the_staged_index_opens_no_other_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [*map(str, cut(SCENE, tmp_path))]
    scene = SceneOptions()
    with closing(open_mosaic(paths, None, scene)) as source:
        whole, info = shown(source), source.info
    staged = stage_mosaic(paths, info.identity, tmp_path / "stage", scene, "auto")
    opens, real = [], rasterio.open
    monkeypatch.setattr(
        rasterio, "open", lambda path, *a, **k: opens.append(path) or real(path, *a, **k)
    )  # type: ignore[func-returns-value]
    with closing(open_mosaic((), staged, scene)) as again:
        assert len(opens) == 1
        assert again.info == info
        assert np.array_equal(shown(again), whole)
    assert np.array_equal(whole, with_hole(SCENE.astype(np.int64), -1))


def test_few_files_are_open(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{n:03}.tif", SCENE[:1, :8, :8] + n, 8 * n, 0) for n in range(90)]
    before = len(os.listdir("/proc/self/fd"))
    with closing(opened(paths)) as source:
        for n in range(90):
            assert (
                source.read(Box((8 * n, 0), (8 * n + 8, 8))).values[0, 0, 0] == SCENE[0, 0, 0] + n
            )
            assert len(os.listdir("/proc/self/fd")) - before <= 2 * handles.MOST_OPEN
    assert len(os.listdir("/proc/self/fd")) <= before + 2


PIECES = {
    # name -> row, column, values; 0 is nodata
    "b_20240513.tif": (0, 0, 1),
    "a_2024-06-30.tif": (10, 12, 2),
    "c_20231101.tif": (5, 20, 3),
}


@pytest.mark.parametrize(
    ("order", "wanted"),
    [("first", "bac"), ("name", "cba"), ("date", "abc")],
)
def test_overlaps_by_every_order(tmp_path: Path, order: str, wanted: str) -> None:
    """Where the piece that counts has no data the next one's pixels are taken."""
    rng, arrays = np.random.default_rng(3), {}
    for name, (row, column, low) in PIECES.items():
        values = rng.integers(low * 1000, low * 1000 + 900, (24, 31)).astype(np.uint16)
        values[rng.random(values.shape) < 0.3] = 0
        arrays[name[0]] = row, column, values
        put(tmp_path / name, values, row, column, nodata=0)
    extent = (34, 51)
    expected = drawn(extent, [arrays[letter] for letter in wanted], nodata=0)
    with closing(opened([tmp_path / name for name in PIECES], order=order)) as source:
        assert source.info.extent == extent
        assert np.array_equal(shown(source)[0], np.where(expected == 0, -1, expected))


def test_dates_come_from_names_or_tags(tmp_path: Path) -> None:
    none: Callable[[str], dict[str, str]] = lambda path: {}  # noqa: E731
    assert date_of("T33UVR_20240513T101559_B04.tif", none) == "20240513101559"
    assert date_of("x/2020/a_2024_05_13.tif", none) == "20240513"
    assert (
        date_of("a.tif", lambda _: {"TIFFTAG_DATETIME": "2024:05:13 10:15:59"}) == "20240513101559"
    )
    for name in ("a.tif", "20241345.tif", "120240513.tif"):
        with pytest.raises(InputError, match=f"^{name}: neither its name"):
            date_of(name, none)
    old, new = (put(tmp_path / f"{n}.tif", SCENE[:1, :4, :4] + k, 0, 0) for k, n in enumerate("ab"))
    for path, year in ((old, 2021), (new, 2022)):
        with rasterio.open(path, "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"{year}:01:02 03:04:05")
    with closing(opened([old, new], order="date")) as source:
        assert source.read(Box((0, 0), (1, 1))).values[0, 0, 0] == SCENE[0, 0, 0] + 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crs": "EPSG:32611"}, "its CRS is WGS 84 / UTM zone 11N against WGS 84 / UTM zone 12N"),
        ({"transform": PLACE @ Affine.translation(8.5, 0)}, "it lies 0.5 pixels off"),
        ({"transform": PLACE @ Affine.translation(8.002, 0)}, "it lies 0.002 pixels off"),
        ({"transform": PLACE @ Affine.translation(8, 0) @ Affine.scale(2)}, "its pixels are 20 x 20 against 10 x 10"),
        ({"transform": PLACE @ Affine.translation(8, 0) @ Affine.rotation(3)}, "rotated"),
        ({"transform": PLACE @ Affine.translation(8, 8) @ Affine.scale(1, -1)}, "run the other way"),
    ],
)  # fmt: skip
def test_off_the_grid_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    first = put(tmp_path / "a.tif", SCENE[:1, :8, :8], 0, 0)
    other = write_raster(tmp_path / "odd.tif", SCENE[:1, :8, :8], **{"transform": PLACE, **change})
    with pytest.raises(InputError, match=r"odd\.tif does not lie on the grid of .*a\.tif") as error:
        opened([first, other])
    assert said in error.value.message
    assert "--align" in error.value.message


def test_a_thousandth_of_a_pixel_is_on_the_grid(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{n}.tif", SCENE[:1, :8, :8], 0, 8 * n + 0.0009 * n) for n in range(2)]
    with closing(opened(paths)) as source:
        assert np.array_equal(shown(source)[0], np.hstack([SCENE[0, :8, :8]] * 2))


@pytest.mark.parametrize(
    ("bands", "scale", "said"),
    [
        (2, 1.0, "it has 2 channels (band1, band2) against 1 (band1)"),
        (1, 0.5, "its scale is 0.5 against 1"),
    ],
)
def test_other_channels_or_scales_are_refused(
    tmp_path: Path, bands: int, scale: float, said: str
) -> None:
    first = put(tmp_path / "a.tif", SCENE[:1, :8, :8], 0, 0)
    other = put(tmp_path / "odd.tif", SCENE[:bands, :8, :8], 0, 8)
    with rasterio.open(other, "r+") as file:
        file.scales = [scale] * bands
    with pytest.raises(InputError, match=r"odd\.tif can't be a piece") as error:
        opened([first, other])
    assert said in error.value.message


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    first = put(tmp_path / "a.tif", SCENE[:1, :8, :8], 0, 0)
    near = put(tmp_path / "near.tif", SCENE[:1, :8, :8], 0, 8)
    far = put(tmp_path / "far.tif", SCENE[:1, :8, :8], 0, 2**32)
    nowhere = write_raster(
        tmp_path / "no.tif", SCENE[:1, :8, :8], transform=Affine.identity(), crs=None
    )
    for others, said in (
        ([near, far], r"far\.tif lies so far"),
        ([nowhere], r"no\.tif has no georeference"),
        ([first], "is named twice"),
    ):
        with pytest.raises(InputError, match=said):
            opened([first, *others])


def test_a_south_up_mosaic_keeps_its_rows(tmp_path: Path) -> None:
    up = Affine(10, 0, 399960, 0, 10, 5800020)
    paths = cut(SCENE, tmp_path, place=up, hole=None)
    with closing(opened(paths)) as source:
        assert source.info.georef.transform == tuple(up)[:6]
        assert np.array_equal(shown(source), SCENE)


def test_values_meet_in_a_common_type_and_nodata_of_each_piece_counts(tmp_path: Path) -> None:
    low = np.full((4, 4), 7, np.uint8)
    low[1, 1] = 255
    high = np.full((4, 4), -5, np.int16)
    high[2, 2] = 0
    paths = [
        put(tmp_path / "a.tif", low, 0, 0, nodata=255),
        put(tmp_path / "b.tif", high, 0, 4, nodata=0),
    ]
    with closing(opened(paths)) as source:
        assert source.info.dtype == "int16"
        assert source.info.nodata == (None,)
        seen = source.read(Box.whole((4, 8)))
    assert seen.valid is not None
    assert np.argwhere(~seen.valid[..., 0]).tolist() == [[1, 1], [2, 6]]
    assert set(np.unique(seen.values[seen.valid]).tolist()) == {7, -5}


def test_channels_of_a_pixel_come_from_one_piece_each_with_its_own_validity(tmp_path: Path) -> None:
    """0 is nodata. A pixel without data in one channel is not completed from another piece, one without any is."""
    first = np.arange(1, 25, dtype=np.int16).reshape(2, 3, 4)
    second = first + 100
    first[0, 0, 1] = first[:, 1, 2] = first[:, 2, 3] = second[:, 2, 3] = 0
    pieces = [
        put(tmp_path / f"{name}.tif", values, 0, column, nodata=0)
        for name, values, column in (("a", first, 0), ("b", second, 0), ("c", second, 6))
    ]
    with closing(opened(pieces)) as source:
        seen = shown(source)
        hole = source.read(Box((0, 3), (3, 7)))
    wanted = np.where(first == 0, -1, first)
    wanted[:, 1, 2] = second[:, 1, 2]
    assert np.array_equal(seen[:, :, :4], wanted.astype(np.int64))
    assert hole.valid is not None
    assert (hole.values[~hole.valid] == 0).all()


def test_what_is_no_data_keeps_the_number_that_is_stored(tmp_path: Path) -> None:
    values = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    values[1, 2] = np.nan
    pieces = [
        put(tmp_path / "a.tif", values, 0, 0, nodata=-9),
        put(tmp_path / "b.tif", values + 20, 0, 5, nodata=-9),
    ]
    with closing(opened(pieces)) as source:
        seen = source.read(Box((0, 0), (3, 6)))
    assert seen.valid is not None
    assert np.array_equal(seen.values[:, :4, 0], values, equal_nan=True)
    assert seen.values[:, 4].ravel().tolist() == [-9] * 3
    assert np.argwhere(~seen.valid[..., 0]).tolist() == [[0, 4], [1, 2], [1, 4], [2, 4]]


def test_nearest_brings_a_shifted_piece_over(tmp_path: Path) -> None:
    """Half a pixel and a bit to the east: each pixel of the grid takes the one that its centre lies in."""
    first = put(tmp_path / "a.tif", SCENE[:1, :40, :40], 0, 0)
    other = put(tmp_path / "b.tif", SCENE[:1, :40, 40:80], 0, 40.25)
    with closing(opened([first, other], align="nearest")) as source:
        assert source.info.extent == (40, 81)
        seen = shown(source)[0]
        assert np.array_equal(seen[:, :40], SCENE[0, :40, :40])
        # Centres 40.5, ... of the grid lie 0.25, 1.25, ... within the piece.
        assert np.array_equal(seen[:, 40:80], SCENE[0, :40, 40:80])
        assert (seen[:, 80] == -1).all()
        part = source.read(Box((3, 38), (29, 71)))
        assert np.array_equal(part.values[..., 0], SCENE[0, 3:29, 38:71])


def test_linear_is_the_mean_between_two_centres(tmp_path: Path) -> None:
    values = (np.arange(40)[:, None] * 7.0 + np.arange(40)[None] ** 2).astype(np.float32)
    values[20, 20] = -1
    first = put(tmp_path / "a.tif", values, 0, 0)
    other = put(tmp_path / "b.tif", values, 0, 40.5, nodata=-1)
    with closing(opened([first, other], align="linear")) as source:
        pixels = source.read(Box((0, 41), (40, 80)))
    wanted = (values[:, :-1] + values[:, 1:]) / 2
    sure = np.ones(wanted.shape, bool)
    sure[20, 19:21] = False
    assert np.allclose(pixels.values[..., 0][sure], wanted[sure], atol=1e-3)


def test_another_crs_is_brought_over(tmp_path: Path) -> None:
    """Coordinates as values: they are those of the place, within a pixel."""
    first = put(tmp_path / "a.tif", np.zeros((60, 60), np.float32), 0, 0, crs="EPSG:32633")
    from rasterio.warp import transform

    corner = [n[0] for n in transform("EPSG:32633", "EPSG:4326", [400600], [5799900])]
    place = Affine(1e-4, 0, corner[0], 0, -1e-4, corner[1])
    columns, rows = np.meshgrid(np.arange(50) + 0.5, np.arange(50) + 0.5)
    longitudes, latitudes = place @ (columns, rows)
    xs, _ = transform("EPSG:4326", "EPSG:32633", longitudes.ravel(), latitudes.ravel())
    east = (np.array(xs).reshape(50, 50) - 399960).astype(np.float32)
    other = write_raster(tmp_path / "b.tif", east[None], transform=place, crs="EPSG:4326")
    with closing(opened([first, other], align="linear")) as source:
        pixels = source.read(Box((14, 64), (50, 90)))
        grid = np.broadcast_to((np.arange(64, 90) + 0.5) * 10, (36, 26))
        sure = np.ones(grid.shape, bool) if pixels.valid is None else pixels.valid[..., 0]
        assert sure.mean() > 0.9
        assert np.abs(pixels.values[..., 0] - grid)[sure].max() < 2
        part = source.read(Box((20, 70), (33, 81)))
        assert np.array_equal(part.values, pixels.values[6:19, 6:17])


def test_the_identity_is_of_all_pieces_and_their_order(tmp_path: Path) -> None:
    paths = cut(SCENE[:1], tmp_path)

    def identity(paths: list[Path], **scene: object) -> object:
        with closing(opened(paths, **scene)) as source:
            return source.info.identity

    before = identity(paths)
    assert identity(paths) == before
    others = [identity(paths[:-1]), identity(paths[::-1]), identity(paths, order="name")]
    write_raster(paths[7], SCENE[:1, : ROWS[2] - ROWS[1], : COLUMNS[3] - COLUMNS[2]] + 1, transform=PLACE @ Affine.translation(COLUMNS[3], ROWS[1]))  # fmt: skip
    others.append(identity(paths))
    texts = {str(each) for each in (before, *others)}
    assert len(texts) == 5
    assert HOLE


def test_a_piece_that_changes_or_goes_is_an_error_of_its_box(tmp_path: Path) -> None:
    paths = [put(tmp_path / f"{n}.tif", SCENE[:1, :8, :8], 0, 8 * n) for n in range(3)]
    with closing(opened(paths)) as source:
        put(paths[1], SCENE[:1, :8, :8] + 1, 0, 8)
        paths[2].unlink()
        assert source.read(Box((0, 0), (8, 8))).values.shape == (8, 8, 1)
        for n, said in ((1, "changed"), (2, "")):
            with pytest.raises(ReadError, match=f"{n}.tif.*{said}"):
                source.read(Box((0, 8 * n), (8, 8 * n + 8)))


def test_chosen_bands_and_pictures(tmp_path: Path) -> None:
    paths = [*map(str, cut(SCENE, tmp_path))]
    with closing(ImageSpec(tuple(paths), mosaic=True, bands=("2",)).open()) as source:
        assert np.array_equal(shown(source)[0], with_hole(SCENE.astype(np.int64), -1)[1])  # type: ignore[arg-type]
        small = source.reduced((26, 33))  # type: ignore[attr-defined]
        assert np.array_equal(
            small.values[..., 0][small.valid[..., 0]], SCENE[1, 5::10, 5::10][small.valid[..., 0]]
        )
