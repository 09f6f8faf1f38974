"""Zarr: axes by name in any order, every convention of place, damage told from absence."""

import base64
import json
import struct

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from seg_batch.core.errors import InputError, ReadError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import RasterGeoref, VolumeGeoref, georef_to_json
from seg_batch.io.sources import open_source

UTM = CRS.from_epsg(32633).to_wkt()


def address(*shape, dtype="int32"):
    return np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)


def whole(path, **options):
    source = open_source(path, **options)
    return source, source.read(Box.whole(source.info.extent))


def refusal(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        open_source(path, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.fixture
def store(tmp_path):
    """Writes one array, standing alone or in a group, and returns its path and the group."""

    def write(values, names, *, version=3, name="", chunks=None, **attributes):
        group = zarr.open_group(tmp_path / "a.zarr", mode="a", zarr_format=version)
        chunks = chunks or tuple(min(4, n) for n in values.shape)
        more = {"dimension_names": names} if version == 3 else {}
        array = group.create_array(
            name or "image", shape=values.shape, chunks=chunks, dtype=values.dtype, **more
        )
        if version == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = list(names)
        array.attrs.update(attributes)
        array[...] = values
        return tmp_path / "a.zarr" / (name or "image"), group

    return write


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("y", "x"), "yx"),
        (("band", "y", "x"), "cyx"),
        (("lat", "lon", "channel"), "yxc"),
        (("x", "c", "y"), "xcy"),
        (("z", "y", "x"), "zyx"),
        (("time", "C", "Z", "row", "col"), "tczyx"),
        (("odd", "y", "x"), "-yx"),
    ],
)
def test_axes_by_name_in_any_order(store, version, names, order):
    lengths = {"t": 1, "c": 3, "z": 6, "y": 9, "x": 7, "-": 1}
    values = address(*(lengths[role] for role in order), dtype=">i2" if version == 2 else "int16")
    path, _ = store(values, names, version=version)
    source, pixels = whole(path)
    spatial = [role for role in "zyx" if role in order]
    assert source.info.extent == tuple(lengths[role] for role in spatial)
    assert source.info.kind == ("volume" if "z" in order else "raster")
    full = values if "c" in order else values[..., None]
    letters = order if "c" in order else order + "c"
    expected = np.einsum(f"{letters.replace('-', 'o')}->{''.join(spatial)}c", full)
    np.testing.assert_array_equal(pixels.values, expected)
    assert pixels.values.dtype.isnative
    assert len(source.info.channels) == expected.shape[-1]


@given(st.data())
def test_any_box_is_a_slice_of_the_whole(tmp_path_factory, data):
    values = address(3, 11, 13)
    path = tmp_path_factory.mktemp("z") / "a.zarr"
    array = zarr.create_array(
        path, shape=values.shape, chunks=(2, 4, 5), dtype="int32", dimension_names=("c", "y", "x")
    )
    array[...] = values
    ends = [
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))
        for n in (11, 13)
    ]
    box = Box(tuple(a for a, _ in ends), tuple(b for _, b in ends))
    pixels = open_source(path).read(box)
    np.testing.assert_array_equal(pixels.values, values.transpose(1, 2, 0)[box.slices()])


def test_without_names_it_says_how_to_name(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(5, 5), dtype="u1")
    assert "dimension_names" in refusal(tmp_path / "a.zarr")


@pytest.mark.parametrize("names", [("a", "b"), ("y", "y"), ("z", "x"), ("y", "x", "q")])
def test_axes_that_make_no_image(store, names):
    path, _ = store(address(*(4, 5, 6)[: len(names)]), names)
    assert "axes" in refusal(path)


def test_time_is_chosen_like_a_volume(store):
    values = address(3, 5, 6)
    path, _ = store(values, ("time", "y", "x"))
    assert "--volume K (0 to 2)" in refusal(path)
    assert "no volume" in refusal(path, volume=3)
    _, pixels = whole(path, volume=2)
    np.testing.assert_array_equal(pixels.values[..., 0], values[2])


def test_a_group_with_one_image_is_that_image(store):
    path, group = store(address(5, 6), ("y", "x"))
    group.create_array("x", shape=(6,), dtype="f8", dimension_names=("x",))
    assert open_source(path.parent).info.extent == (5, 6)
    store(address(5, 6), ("y", "x"), name="other")
    assert "2 images (image, other)" in refusal(path.parent)


def test_an_empty_group_and_broken_metadata(tmp_path):
    zarr.open_group(tmp_path / "g.zarr", mode="w")
    assert "without an array" in refusal(tmp_path / "g.zarr")
    for text in ("{", "[]", '{"zarr_format": 3, "node_type": "array"}', ""):
        (tmp_path / "g.zarr" / "zarr.json").write_text(text)
        assert "metadata" in refusal(tmp_path / "g.zarr")


class TestPlace:
    def test_our_own_store(self, store):
        georef = RasterGeoref(crs_wkt=UTM, transform=(10, 0, 5, 0, -10, 6), metres_per_unit=1.0)
        path, group = store(address(5, 6, dtype="uint8"), ("y", "x"), name="labels")
        store(address(3, 5, 6, dtype="uint8"), ("class", "y", "x"), name="probabilities")
        group.attrs["segbatch"] = {"georef": georef_to_json(georef)}
        for place in (path, path.parent):
            info = open_source(place).info
            assert info.georef == georef
            assert info.warnings == ()

    def test_our_own_volume(self, store):
        affine = ((0.0, 2.0, 0.1, 4.0), (3.0, 0, 0, 5), (0, 0, -4.0, 6), (0, 0, 0, 1.0))
        georef = VolumeGeoref(affine, sform=affine, sform_code=1)
        path, group = store(address(4, 5, 6, dtype="uint8"), ("z", "y", "x"), name="labels")
        group.attrs["segbatch"] = {"georef": georef_to_json(georef)}
        assert open_source(path.parent).info.georef == georef

    @pytest.mark.parametrize(
        "crs",
        [
            {"_CRS": {"wkt": UTM}},
            {"_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/32633"}},
            {"proj:code": "EPSG:32633"},
            {"proj:wkt2": UTM},
            {"spatial_ref": {"crs_wkt": UTM}},
            {"spatial_ref": {"spatial_ref": UTM, "GeoTransform": "500000 10 0 6000000 0 -10"}},
        ],
    )
    def test_crs_and_coordinates(self, store, crs):
        mapping = crs.pop("spatial_ref", None)
        path, group = store(address(5, 6), ("y", "x"), **crs)
        for name, start, step, count in (("x", 500005, 10, 6), ("y", 5999995, -10, 5)):
            axis = group.create_array(name, shape=(count,), dtype="f8", dimension_names=(name,))
            axis[...] = start + step * np.arange(count)
        if mapping:
            group.create_array("spatial_ref", shape=(), dtype="i4").attrs.update(mapping)
        info = open_source(path.parent).info
        assert info.georef.transform == (10, 0, 500000, 0, -10, 6000000)
        assert info.georef.pixel_m2 == pytest.approx(100)
        assert CRS.from_wkt(info.georef.crs_wkt).to_epsg() == 32633
        assert info.warnings == ()
        assert open_source(path).info.georef == info.georef

    def test_geozarr_transform(self, store):
        attributes = {"proj:code": "EPSG:32633", "spatial:transform": [10, 1, 5, 2, -10, 6]}
        path, _ = store(address(5, 6), ("y", "x"), **attributes)
        assert open_source(path).info.georef.transform == (10, 1, 5, 2, -10, 6)

    def test_degrees_without_a_crs(self, store):
        path, group = store(address(5, 6), ("lat", "lon"))
        for name, count in (("lat", 5), ("lon", 6)):
            group.create_array(name, shape=(count,), dtype="f8")[...] = np.arange(count) * 0.5
        info = open_source(path).info
        assert "WGS 84" in info.warnings[0]
        assert info.georef.metres_per_unit is None

    def test_uneven_or_no_coordinates_are_no_place(self, store):
        path, group = store(address(5, 6), ("y", "x"))
        group.create_array("y", shape=(5,), dtype="f8")[...] = np.arange(5)
        group.create_array("x", shape=(6,), dtype="f8")[...] = np.arange(6) ** 2
        warnings = open_source(path).info.warnings
        assert "not evenly spaced" in warnings[0]
        assert "not georeferenced" in warnings[1]

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_ome(self, tmp_path, version):
        group = zarr.open_group(
            tmp_path / "o.zarr", mode="w", zarr_format=2 if version == "0.4" else 3
        )
        axes = [{"name": "c", "type": "channel"}]
        axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
        steps = [
            {"type": "scale", "scale": [1, 4000, 3000, 2000]},
            {"type": "translation", "translation": [0, 7000, 8000, 9000]},
        ]
        entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
        omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
        ome = {"multiscales": [entry], "omero": omero, "version": version}
        group.attrs.update(ome if version == "0.4" else {"ome": ome})
        values = address(2, 4, 5, 6, dtype="uint16")
        group.create_array("0", shape=values.shape, dtype="uint16")[...] = values
        source, pixels = whole(tmp_path / "o.zarr")
        np.testing.assert_array_equal(pixels.values, values.transpose(1, 2, 3, 0))
        assert source.info.channels == ("DAPI", "GFP")
        assert source.info.georef.spacing_mm == (4, 3, 2)
        np.testing.assert_allclose(source.info.georef.matrix[:3, 3], [9, 8, 7])

    def test_a_volume_without_place(self, store):
        path, _ = store(address(4, 5, 6), ("z", "y", "x"))
        warnings = " ".join(open_source(path).info.warnings)
        assert "not georeferenced" in warnings
        assert "orientation" in warnings


class TestValues:
    def test_cf_attributes(self, store):
        values = address(5, 6, dtype="int16")
        path, _ = store(values, ("y", "x"), _FillValue=7, scale_factor=0.5, add_offset=10)
        source, pixels = whole(path)
        assert source.info.nodata == (7,)
        np.testing.assert_array_equal(pixels.valid[..., 0], values != 7)
        np.testing.assert_allclose(pixels.physical()[..., 0], values * 0.5 + 10)

    def test_xarrays_base64_fill_value(self, store):
        values = address(5, 6, dtype="float32")
        fill = base64.standard_b64encode(struct.pack("<d", 3.0)).decode()
        path, _ = store(values, ("y", "x"), _FillValue=fill)
        assert not whole(path)[1].valid[0, 2, 0]

    def test_zarrs_own_fill_value_is_a_value(self, tmp_path):
        zarr.create_array(
            tmp_path / "a.zarr", shape=(5, 6), dtype="u1", fill_value=3, dimension_names=("y", "x")
        )
        _, pixels = whole(tmp_path / "a.zarr")
        assert pixels.valid is None
        assert (pixels.values == 3).all()

    def test_nan_and_bool(self, store):
        path, _ = store(np.array([[1, np.nan], [np.inf, 2]], "float32"), ("y", "x"))
        np.testing.assert_array_equal(whole(path)[1].valid[..., 0], [[1, 0], [0, 1]])
        path, _ = store(np.array([[True, False]]), ("y", "x"), name="mask")
        assert whole(path)[1].values.dtype == np.uint8

    def test_complex_is_refused(self, store):
        path, _ = store(np.ones((4, 4), "complex64"), ("y", "x"))
        assert "complex64" in refusal(path)

    def test_huge_chunks_and_shapes_are_refused(self, tmp_path):
        for shape, chunks, says in (
            ((100_000, 100_000), (100_000, 100_000), "rechunk"),
            ((2**30, 2**30), (512, 512), "can't be true"),
        ):
            zarr.create_array(
                tmp_path / "a.zarr", shape=shape, chunks=chunks, dtype="u1",
                dimension_names=("y", "x"), overwrite=True,
            )  # fmt: skip
            assert says in refusal(tmp_path / "a.zarr")

    @pytest.mark.parametrize("dtype", ["|u1", "|O"])
    @pytest.mark.parametrize("part", ["filters", "compressor"])
    def test_pickles_are_never_read(self, store, dtype, part):
        path, _ = store(address(4, 4, dtype="uint8"), ("y", "x"), version=2)
        metadata = json.loads((path / ".zarray").read_text())
        codec = {"id": "pickle", "protocol": 4}
        metadata |= {"dtype": dtype, "fill_value": 0, part: [codec] if part == "filters" else codec}
        (path / ".zarray").write_text(json.dumps(metadata))
        assert "can't be read" in refusal(path)


def test_a_damaged_chunk_fails_there_only(store):
    values = address(8, 8)
    path, _ = store(values, ("y", "x"))
    chunk = path / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:5])
    source = open_source(path)
    np.testing.assert_array_equal(source.read(Box((0, 0), (4, 8))).values[..., 0], values[:4])
    with pytest.raises(ReadError, match="5:6,0:8"):
        source.read(Box((5, 0), (6, 8)))


def test_a_changed_store_has_another_identity(store):
    path, group = store(address(8, 8), ("y", "x"))
    before = open_source(path).info.identity
    assert open_source(path).info.identity == before
    group["image"][0, 0] = 99
    assert open_source(path).info.identity != before
