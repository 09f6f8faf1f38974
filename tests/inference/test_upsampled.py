"""Super-resolving models: the product's grid is finer than the input's, in the same place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.config.card import ClassInfo, ModelCard, Normalisation
from seg_batch.config.predict_options import PredictOptions
from seg_batch.core.errors import PlanError
from seg_batch.core.geometry import Axis, Box, Grid
from seg_batch.core.georef import RasterGeoref, VolumeGeoref
from seg_batch.core.normalise import Pixels
from seg_batch.core.taper import Taper
from seg_batch.inference.ensemble import without_repeats
from seg_batch.inference.predict import predict_one
from seg_batch.inference.request import Request
from seg_batch.inference.sliding_window.grid import make_grid
from seg_batch.inference.sliding_window.stitch import cut
from seg_batch.inference.sliding_window.tta import average_views
from seg_batch.inference.verify import verify_product
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.upsampled import Upsampled, repeated
from tests.support.files import address_raster, address_volume, write_raster, write_volume

pytestmark = pytest.mark.full  # left to make test: whole runs, or many networks

Array = np.ndarray


def predict(path: Path, output: Path, **asked: Any) -> dict[str, Any]:
    options = PredictOptions(
        **{f.name: asked.pop(f.name) for f in fields(PredictOptions) if f.name in asked}
    )
    return predict_one(Request(str(path), str(output), options=options, **asked))


def card(classes: int = 7, **fields: Any) -> ModelCard:
    table = tuple(ClassInfo(id=i, name=f"k{i}", colour=(i, i, i)) for i in range(classes))
    identity = Normalisation(kind="identity")
    return ModelCard(**{"name": "t", "classes": table, "normalisation": identity, **fields})


def one_hot(indices: Array, classes: int) -> Array:
    return np.eye(classes, dtype=np.float32)[indices]


def places(shape: tuple[int, ...], f: int) -> Array:
    """Which of the ``f ** rank`` parts of its coarse voxel each fine voxel is."""
    total = np.zeros(shape, int)
    for i in np.indices(shape):
        total = total * f + i % f
    return total


def by_place(f: int, classes: int = 7) -> Callable[[Array], Array]:
    """Class = (value of the coarse voxel + place inside it) mod classes: every tile agrees."""

    def predictor(patches: Array) -> Array:
        fine = repeated(patches, (1, *(f,) * (patches.ndim - 2)))[..., 0].astype(int)
        return one_hot((fine + places(fine.shape[1:], f)) % classes, classes)

    return predictor


def refine(values: Array, f: int) -> Array:
    for axis in range(values.ndim):
        values = values.repeat(f, axis)
    return values


def labels_of(path: Path) -> Array:
    with rasterio.open(path) as file:
        return file.read(1)


class Held:
    """A source of an array, for reading boxes; its info is another source's."""

    def __init__(self, info: Any, pixels: Pixels) -> None:
        self.info, self._pixels = info, pixels

    def read(self, box: Box) -> Pixels:
        return self._pixels[box.slices()]

    def close(self) -> None: ...


@given(st.data())
def test_a_finer_source_repeats_every_voxel(data: Any) -> None:
    """``value'(v) = value(floor(v / f))``, for any box, and the mask alike."""
    rank = data.draw(st.integers(2, 3))
    shape = tuple(data.draw(st.integers(1, 5)) for _ in range(rank))
    factors = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    values = np.arange(np.prod(shape) * 2).reshape(*shape, 2)
    georef = RasterGeoref() if rank == 2 else VolumeGeoref(tuple(map(tuple, np.eye(4).tolist())))
    info = open_info(shape, georef)
    finer = Upsampled(Held(info, Pixels(values, values % 3 == 0)), factors)
    whole = values
    for axis, f in enumerate(factors):
        whole = whole.repeat(f, axis)
    assert finer.info.extent == whole.shape[:-1]
    start = tuple(data.draw(st.integers(0, n - 1)) for n in finer.info.extent)
    stop = tuple(
        data.draw(st.integers(a + 1, n)) for a, n in zip(start, finer.info.extent, strict=True)
    )
    box = Box(start, stop)
    found = finer.read(box)
    assert np.array_equal(found.values, whole[box.slices()])
    assert np.array_equal(found.valid, whole[box.slices()] % 3 == 0)


def open_info(shape: tuple[int, ...], georef: Any) -> Any:
    from seg_batch.io.sources.protocol import SourceInfo

    kind = georef.kind
    return SourceInfo("a", "geotiff", kind, shape, ("a", "b"), "int64", georef, shape)


@given(st.data())
def test_tiles_start_at_whole_voxels_of_the_input(data: Any) -> None:
    """The fine grid is the coarse one times f, the last, clamped tile too; and what is cut where
    the image is smaller than the patch is what the coarse grid cuts, repeated."""
    f, patch = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 12))
    overlap = data.draw(st.one_of(st.none(), st.integers(0, patch - 1)))
    extent = data.draw(st.integers(1, 40))
    model = card(kind="raster", rank=2, patch=(patch,) * 2, finer=f)
    coarse = model.model_copy(update={"finer": 1})
    fine_grid, _ = make_grid((extent * f,) * 2, model, PredictOptions(overlap=overlap))
    grid, _ = make_grid((extent,) * 2, coarse, PredictOptions(overlap=overlap))
    assert [s * f for s in grid.axes[0].starts] == list(fine_grid.axes[0].starts)
    values = np.arange(extent**2).reshape(extent, extent, 1)
    whole = Box.whole((extent,) * 2)
    fine_whole = Box.whole((extent * f,) * 2)
    fine_values = refine(values[..., 0], f)[..., None]
    for tile, fine in zip(grid, fine_grid, strict=True):
        seen = cut(Pixels(values), whole, tile.box, grid.extent).values
        fine_seen = cut(Pixels(fine_values), fine_whole, fine.box, fine_grid.extent).values
        assert np.array_equal(repeated(seen, (f, f)), fine_seen)


def test_the_predictor_sees_each_voxel_once() -> None:
    patches = np.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5).astype(np.float32)
    fed = []
    without_repeats(lambda x: fed.append(x) or x, 3)(repeated(patches, (1, 3, 3)))
    assert np.array_equal(fed[0], patches)


@pytest.mark.parametrize("shape", [(230, 193), (5, 7), (1, 90), (64, 65)])
def test_a_product_shows_every_place_inside_a_voxel(tmp_path: Path, shape: Any) -> None:
    values = address_raster(shape, 2, "uint16")
    scene = write_raster(tmp_path / "a.tif", values, tiled=False)
    model = card(kind="raster", rank=2, patch=(64, 64), overlap=(16, 16), finer=3)
    report = predict(scene, tmp_path / "out.tif", model=(model, by_place(3)))
    fine = refine(values[0].astype(int), 3)
    assert np.array_equal(labels_of(tmp_path / "out.tif"), (fine + places(fine.shape, 3)) % 7)
    with rasterio.open(scene) as before, rasterio.open(tmp_path / "out.tif") as after:
        assert after.crs == before.crs
        assert np.allclose(after.bounds, before.bounds, rtol=0, atol=1e-6)
        assert after.transform.almost_equals(before.transform @ before.transform.scale(1 / 3))
        assert after.nodata == 255
    hectares = sum(row["hectares"] for row in report["classes"])
    assert hectares == pytest.approx(shape[0] * shape[1] * 0.09)
    assert verify_product(tmp_path / "out.tif")["ok"]


def test_nodata_and_empty_voxels_keep_their_places(tmp_path: Path) -> None:
    values = address_raster((300, 260), 2, "uint16")
    values[:, 40:250, 30:] = 65535
    scene = write_raster(tmp_path / "a.tif", values, nodata=65535)
    model = card(kind="raster", rank=2, patch=(32, 32), overlap=(8, 8), finer=2)
    report = predict(scene, tmp_path / "out.tif", model=(model, by_place(2)))
    fine = refine(values[0].astype(int), 2)
    expected = np.where(fine == 65535, 255, (fine + places(fine.shape, 2)) % 7)
    assert np.array_equal(labels_of(tmp_path / "out.tif"), expected)
    assert report["tiles_skipped"] > 0
    assert report["unclassified_voxels"] == 4 * 210 * 230


def weighed(values: Array, model: ModelCard, predictor: Any) -> Array:
    """Slow and plain: tiles of the coarse image, weights of the fine grid, one sum for all."""
    f, extent = model.finer, values.shape[:2]
    coarse = Grid(extent, model.patch, model.overlap, model.margin or (0, 0))
    fine, _ = make_grid(tuple(n * f for n in extent), model, PredictOptions())
    total = np.zeros((*fine.extent, len(model.classes)))
    for tile, place in zip(coarse, fine, strict=True):
        index = np.ix_(*(range(a, b) for a, b in zip(tile.box.start, tile.box.stop, strict=True)))
        found = predictor(values[index][None])[0]
        total[place.box.slices()] += found * Taper(fine, "hann").weights(place)[..., None]
    return total


def wavy(f: int) -> Callable[[Array], Array]:
    """Depends on the place in the patch, on the place in the voxel, and on the value."""

    def predictor(patches: Array) -> Array:
        fine = repeated(patches, (1, f, f))[..., :1].astype(np.float64)
        _, h, w, _ = fine.shape
        y, x = np.indices((h, w))
        phases = fine / 17 + (0.03 * y + 0.05 * x + places((h, w), f) / 3)[None, ..., None]
        waves = np.exp(np.sin(phases + np.arange(4) * 1.3))
        return (waves / waves.sum(-1, keepdims=True)).astype(np.float32)

    return predictor


@pytest.mark.full
@pytest.mark.parametrize("block", [None, (1024, 1024), (1024, 2048)])
def test_seams_are_blended_on_the_fine_grid(tmp_path: Path, block: Any) -> None:
    """Whatever the blocks, which no multiple of 3 fits: the same as a plain sum over all tiles."""
    values = address_raster((530, 410), 1, "uint8")
    scene = write_raster(tmp_path / "a.tif", values)
    fields = {"patch": (64, 48), "overlap": (20, 12), "margin": (4, 2), "finer": 3}
    model = card(4, kind="raster", rank=2, **fields)
    report = predict(
        scene,
        tmp_path / "out.tif",
        model=(model, wavy(3)),
        block=block,
        probabilities=True,
    )
    assert report["blocks"]["total"] == {None: 1, (1024, 1024): 4, (1024, 2048): 2}[block]
    expected = weighed(values[0][..., None].astype(np.float64), model, wavy(3))
    with rasterio.open(tmp_path / "out_probabilities.tif") as file:
        found = np.moveaxis(file.read(), 0, -1)
    assert np.abs(found - 255 * expected).max() <= 0.51
    assert (labels_of(tmp_path / "out.tif") == expected.argmax(-1)).mean() > 0.9999


@pytest.mark.full
def test_blocks_and_batches_give_the_same_bytes(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", address_raster((900, 500), 1, "uint8"))
    model = (card(kind="raster", rank=2, patch=(64, 64), overlap=(16, 16), finer=3), by_place(3))
    reports = [
        predict(scene, tmp_path / f"{i}.tif", model=model, **asked)
        for i, asked in enumerate(
            [{"block": (3072, 2048)}, {"block": (1024, 1024)}, {"block": (2048, 1024), "batch": 3}]
        )
    ]
    assert len({r["product"]["sha256"] for r in reports}) == 1


def test_a_volume_gets_finer_in_its_own_orientation(volume: Path, tmp_path: Path) -> None:
    model = card(kind="volume", rank=3, patch=(24, 16, 16), overlap=(8, 4, 4), finer=2)
    report = predict(volume, tmp_path / "out.nii.gz", model=(model, by_place(2)))
    image, found = nibabel.load(volume), nibabel.load(tmp_path / "out.nii.gz")
    seen = nibabel.as_closest_canonical(found)
    fine = refine(np.asarray(nibabel.as_closest_canonical(image).dataobj).astype(int), 2)
    zyx = fine.transpose(2, 1, 0)
    expected = (zyx + places(zyx.shape, 2)) % 7
    assert np.array_equal(np.asarray(seen.dataobj).transpose(2, 1, 0), expected)
    corners = np.array([[-0.5, -0.5, -0.5, 1], [60.5, 44.5, 36.5, 1]])
    fine_corners = np.array([[-0.5, -0.5, -0.5, 1], [121.5, 89.5, 73.5, 1]])
    assert np.allclose(corners @ image.affine.T, fine_corners @ found.affine.T, atol=1e-4)
    for name in ("sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):
        assert np.array_equal(found.header[name], image.header[name])
    millilitres = sum(row["millilitres"] for row in report["classes"])
    assert millilitres == pytest.approx(61 * 45 * 37 * 1.5 * 0.9 * 2 / 1000, rel=1e-5)
    assert verify_product(tmp_path / "out.nii.gz")["ok"]


def test_a_2d_model_makes_slices_finer_not_their_number(tmp_path: Path) -> None:
    """Slices are those of the model's orientation: here the file's first axis is superior."""
    values = address_volume((9, 40, 30))
    affine = np.array([[0, 0, 1.0, 5], [0, -2, 0, 7], [3, 0, 0, -9], [0, 0, 0, 1]])
    path = write_volume(tmp_path / "a.nii", values, affine)
    model = card(kind="volume", rank=2, patch=(16, 16), overlap=(4, 4), finer=2)
    predict(path, tmp_path / "out.nii", model=(model, by_place(2)))
    found = nibabel.load(tmp_path / "out.nii")
    assert found.shape == (9, 80, 60)
    fine = values.astype(int).repeat(2, 1).repeat(2, 2)
    y, x = np.indices((80, 60))
    y = y[::-1]  # the file's second axis runs to posterior
    assert np.array_equal(np.asarray(found.dataobj), (fine + y % 2 * 2 + x % 2) % 7)
    assert np.allclose(found.header.get_zooms(), (3, 1, 0.5))


def test_volumes_without_any_code_keep_their_place(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(address_volume((12, 10, 8)), None)
    image.header["pixdim"][1:4] = 1.5, 1, 2
    image.header["sform_code"] = image.header["qform_code"] = 0
    image.to_filename(tmp_path / "a.nii")
    model = card(kind="volume", rank=3, patch=(8, 8, 8), overlap=(2, 2, 2), finer=3)
    predict(tmp_path / "a.nii", tmp_path / "out.nii", model=(model, by_place(3)))
    assert verify_product(tmp_path / "out.nii")["ok"]
    before, after = (
        nibabel.load(tmp_path / "a.nii").affine,
        nibabel.load(tmp_path / "out.nii").affine,
    )
    assert np.allclose(before @ [-0.5, -0.5, -0.5, 1], after @ [-0.5, -0.5, -0.5, 1])


def test_a_raster_without_a_place_stays_without(tmp_path: Path) -> None:
    values = address_raster((40, 30), 1, "uint8")
    scene = write_raster(tmp_path / "a.tif", values, crs=None, transform=None)
    model = card(kind="raster", rank=2, patch=(16, 16), overlap=(4, 4), finer=2)
    predict(scene, tmp_path / "out.tif", model=(model, by_place(2)))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (file.crs, file.shape) == (None, (80, 60))
        assert file.transform.is_identity


def test_a_zarr_product_has_fine_coordinates(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", address_raster((40, 30), 1, "uint8"))
    model = card(kind="raster", rank=2, patch=(16, 16), overlap=(4, 4), finer=3)
    predict(scene, tmp_path / "out.zarr", model=(model, by_place(3)))
    source = open_source(tmp_path / "out.zarr")
    assert source.info.extent == (120, 90)
    assert source.info.georef.transform == pytest.approx((10, 0, 301905, 0, -10, 4154085))
    assert verify_product(tmp_path / "out.zarr")["ok"]


def test_memory_is_promised_for_the_fine_grid(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "a.tif", address_raster((300, 300), 2, "uint16"))
    fields = {"kind": "raster", "rank": 2, "patch": (64, 64), "overlap": (16, 16)}
    with pytest.raises(PlanError, match="--memory"):
        predict(
            scene,
            tmp_path / "o.tif",
            model=(card(finer=8, **fields), by_place(8)),
            memory_bytes=440 << 20,
        )
    assert Axis(2400, 512, 128, 0).starts[-1] == 1888


def local(f: int) -> Callable[[Array], Array]:
    """Depends on the value and on the place in the voxel alone; no symmetry, and no two are equal."""

    def predictor(patches: Array) -> Array:
        fine = repeated(patches, (1, f, f))[..., :1].astype(np.float64)
        phases = fine / 17 + places(fine.shape[1:3], f)[None, ..., None] / 3
        waves = np.exp(2 * np.sin(phases + np.arange(4) * 1.3))
        return (waves / waves.sum(-1, keepdims=True)).astype(np.float32)

    return predictor


def test_views_of_a_patch_are_averaged_on_the_fine_grid(tmp_path: Path) -> None:
    values = address_raster((90, 90), 1, "uint8")
    scene = write_raster(tmp_path / "a.tif", values)
    model = card(4, kind="raster", rank=2, patch=(32, 32), overlap=(8, 8), finer=3)
    predict(scene, tmp_path / "o.tif", model=(model, local(3)), tta="d4", probabilities=True)
    expected = average_views(local(3), "d4")(values[0][None, ..., None])[0]
    with rasterio.open(tmp_path / "o_probabilities.tif") as file:
        found = np.moveaxis(file.read(), 0, -1)
    assert np.abs(found - 255 * expected).max() <= 0.51
    assert np.abs(255 * expected - 255 * local(3)(values[0][None, ..., None])[0]).max() > 10
