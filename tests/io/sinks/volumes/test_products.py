"""Labels as NRRD, Slicer's segmentations and MetaImage: SimpleITK reads the same voxels at the same places."""

from __future__ import annotations

import gzip
import io
import itertools
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from seg_batch.config.card_parts.codes import SegmentCode
from seg_batch.core.errors import DamagedError
from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sinks.product import export_product, geometry_changes, probabilities_spec
from seg_batch.io.sinks.volumes import deflated, plain
from seg_batch.io.sources import open_source
from seg_batch.io.sources.formats.volumes.nrrd import read_header
from tests.support.io.stores import (
    CLASSES,
    OBLIQUE,
    card_of,
    full_store,
    labels_at,
    probabilities_at,
    product_spec,
    store_spec,
)
from tests.support.io.text_volumes import by_itk

NAMES = ("a.nrrd", "a.seg.nrrd", "a.mha")
EXTENT = (9, 20, 30)
WHOLE = Box.whole(EXTENT)


def exported(folder: Path, name: str, georef: VolumeGeoref = OBLIQUE, dtype: str = "uint8") -> Path:
    spec = store_spec(EXTENT, (4, 16, 16), georef, label_dtype=dtype)
    store = full_store(folder / "s", spec)
    return export_product(store, folder / name, product_spec(store)).path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_other_programs_read_the_same(tmp_path: Path, name: str, dtype: str) -> None:
    path = exported(tmp_path, name, dtype=dtype)
    values, affine = by_itk(path)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values[..., 0], labels_at(WHOLE, dtype))
    np.testing.assert_allclose(affine, OBLIQUE.matrix, rtol=0, atol=1e-12)
    ours = open_source(path)
    np.testing.assert_array_equal(ours.read(WHOLE).values[..., 0], labels_at(WHOLE, dtype))
    assert geometry_changes(path, OBLIQUE, EXTENT) == []
    assert {p.name for p in tmp_path.iterdir()} == {"s", name}


@pytest.mark.parametrize("name", NAMES)
def test_all_48_orientations(tmp_path: Path, name: str) -> None:
    store = full_store(tmp_path / "s", store_spec((3, 4, 5), (4, 4, 8), OBLIQUE))
    for order, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None] * (0.7, 1.1, 2.3)
        affine = np.vstack([np.c_[turn, (1.5, -2.25, 7)], (0, 0, 0, 1)])
        georef = VolumeGeoref(tuple(map(tuple, affine.tolist())), sform_code=1)
        path = export_product(store, tmp_path / name, product_spec(store, georef=georef)).path
        values, found = by_itk(path)
        np.testing.assert_array_equal(values[..., 0], labels_at(Box.whole((3, 4, 5))))
        np.testing.assert_allclose(found, affine, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_place_in_other_units_or_with_codes_is_kept_in_mm(tmp_path: Path, name: str) -> None:
    georef = replace(OBLIQUE, sform=OBLIQUE.affine, sform_code=2, units="micron")
    path = exported(tmp_path, name, georef)
    expected = OBLIQUE.matrix
    expected[:3] /= 1000
    np.testing.assert_allclose(by_itk(path)[1], expected, rtol=1e-12, atol=1e-15)
    assert geometry_changes(path, georef, EXTENT) == []
    moved = replace(georef, affine=tuple(map(tuple, (georef.matrix + np.eye(4)[:, [1, 1, 1, 0]]).tolist())))  # fmt: skip
    assert geometry_changes(path, moved, EXTENT)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_volumes(tmp_path: Path, name: str) -> None:
    spec = store_spec(EXTENT, (4, 16, 16), OBLIQUE, probabilities=True)
    store = full_store(tmp_path / "s", spec)
    path = export_product(store, tmp_path / name, probabilities_spec(product_spec(store))).path
    expected = probabilities_at(WHOLE)
    for volume in (0, len(CLASSES) - 1):
        got = open_source(path, volume=volume).read(WHOLE).values[..., 0]
        np.testing.assert_array_equal(got, expected[volume])
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).ravel().size, expected.size
    )


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_reproducible_whatever_the_threads(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    for cores in (1, 4):
        monkeypatch.setattr(deflated, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(deflated, "_PIECE_BYTES", 1000)
        folder = tmp_path / str(cores)
        folder.mkdir()
        found.add(exported(folder, name).read_bytes())
    assert len(found) == 1


def test_a_segmentation_is_what_slicer_writes(tmp_path: Path) -> None:
    path = exported(tmp_path, "a.seg.nrrd")
    keys = read_header(path).keys
    image = SimpleITK.ReadImage(str(path))
    labels = labels_at(WHOLE)
    for n, each in enumerate(c for c in CLASSES if c.id):
        of = f"Segment{n}_"
        assert image.GetMetaData(of + "Name") == each.name
        assert int(keys[of + "LabelValue"]) == each.id
        assert keys[of + "Layer"] == "0"
        colour = [float(part) * 255 for part in keys[of + "Color"].split()]
        np.testing.assert_allclose(colour, each.colour, atol=1e-3)
        places = np.argwhere(labels == each.id)
        expected = np.c_[places.min(0), places.max(0)][::-1].ravel()
        assert [*map(int, keys[of + "Extent"].split())] == expected.tolist()
    assert image.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"
    assert image.GetMetaData("CLASS_1") == "ü"


def test_a_class_that_no_voxel_has_is_a_segment_without_extent(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec(EXTENT, (4, 16, 16), OBLIQUE))
    extra = CLASSES[1].model_copy(update={"id": 200, "name": "two\nlines"})
    spec = product_spec(store, classes=(*CLASSES, extra))
    keys = read_header(export_product(store, tmp_path / "a.seg.nrrd", spec).path).keys
    assert keys["Segment8_Extent"] == "0 -1 0 -1 0 -1"
    assert keys["Segment8_Name"] == "two lines"


@pytest.mark.parametrize("background", [3, None])
def test_every_class_but_the_background_is_a_segment(
    tmp_path: Path, background: int | None
) -> None:
    store = full_store(tmp_path / "s", store_spec(EXTENT, (4, 16, 16), OBLIQUE))
    spec = product_spec(store, card=card_of(CLASSES, background))
    keys = read_header(export_product(store, tmp_path / "a.seg.nrrd", spec).path).keys
    values = [int(value) for key, value in keys.items() if key.endswith("LabelValue")]
    assert values == [c.id for c in CLASSES if c.id != background]
    places = np.argwhere(labels_at(WHOLE) == 0)
    expected = np.c_[places.min(0), places.max(0)][::-1].ravel()
    assert [*map(int, keys["Segment0_Extent"].split())] == expected.tolist()


def test_codes_of_the_card_are_terms_of_slicer(tmp_path: Path) -> None:
    store = full_store(tmp_path / "s", store_spec(EXTENT, (4, 16, 16), OBLIQUE))
    code = SegmentCode(
        category="SCT 123037004 Anatomical Structure",
        type="SCT 64033007 Kidney",
        modifier="SCT 7771000 Left",
    )
    classes = (CLASSES[0], CLASSES[1].model_copy(update={"code": code}), *CLASSES[2:])
    spec = product_spec(store, classes=classes)
    keys = read_header(export_product(store, tmp_path / "a.seg.nrrd", spec).path).keys
    (term,) = [t for t in keys["Segment0_Tags"].split("|") if t.startswith("TerminologyEntry:")]
    _, category, kind, modifier, _, region, _ = term.removeprefix("TerminologyEntry:").split("~")
    assert category == "SCT^123037004^Anatomical Structure"
    assert (kind, modifier, region) == ("SCT^64033007^Kidney", "SCT^7771000^Left", "^^")
    assert keys["Segment1_Tags"] == "Segmentation.Status:completed|"


@pytest.mark.parametrize("name", NAMES)
def test_voxels_that_land_elsewhere_are_seen(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = plain.put_box
    monkeypatch.setattr(plain, "put_box", lambda *a: put(*a[:-1], np.roll(a[-1], 1)))
    with pytest.raises(DamagedError, match="voxels differ"):
        exported(tmp_path, name)
    assert {p.name for p in tmp_path.iterdir()} == {"s"}


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_is_lost_is_seen(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seg_batch.io.sinks.volumes import metaimage, nrrd

    for module in (metaimage, nrrd):
        monkeypatch.setattr(module, "lps_affine", lambda spec: np.diag([2.0, 2, 3, 1]))
    with pytest.raises(DamagedError, match="affine"):
        exported(tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_that_no_sample_meets_is_seen(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compressed stream is whole, and of one other byte than the plain file."""
    from seg_batch.io.sinks.volumes import metaimage, nrrd

    def faulty(write: Any, voxels: Any, out: Any) -> int:
        data = voxels.read()
        write(io.BytesIO(bytes([data[0] ^ 1]) + data[1:]), out)
        return zlib.crc32(data)

    monkeypatch.setattr(nrrd, "write_gzip", partial(faulty, deflated.write_gzip))
    monkeypatch.setattr(metaimage, "write_zlib", partial(faulty, deflated.write_zlib))
    with pytest.raises(DamagedError, match="bytes differ"):
        exported(tmp_path, name)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 5001])
def test_one_stream_that_any_inflater_takes(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflated, "_PIECE_BYTES", 1000)
    data = bytes(n * n % 251 for n in range(size))
    for write, read in (
        (deflated.write_gzip, gzip.decompress),
        (deflated.write_zlib, zlib.decompress),
    ):
        out = io.BytesIO()
        assert write(io.BytesIO(data), out) == zlib.crc32(data)
        assert read(out.getvalue()) == data
        member = zlib.decompressobj(47)
        assert member.decompress(out.getvalue()) == data
        assert member.eof
        assert not member.unused_data
