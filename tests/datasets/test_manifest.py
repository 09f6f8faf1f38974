"""Manifests: what they may say, what they may not, and files stacked as channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rasterio.transform import Affine

from seg_batch.config.recipe.manifest import MOST_BYTES, read_manifest
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.pairs import find_pairs
from seg_batch.datasets.patch_set import PatchSet
from seg_batch.io.sources import open_source
from seg_batch.io.sources.views.stacked import Stacked
from tests.support.files import address_raster, write_raster, write_volume
from tests.support.training.recipes import CLASSES, raster_pair, recipe, volume_pairs


def manifest(folder: Path, text: str | dict[str, Any], name: str = "m.yaml") -> Path:
    path = folder / name
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


def test_yaml_and_csv_say_the_same(tmp_path: Path) -> None:
    cases = [
        {"id": "a", "image": ["r.tif", "n.tif"], "label": "sub/l.tif", "split": "test"},
        {"id": "b", "image": "b.nii.gz", "label": "/abs/l.nii.gz"},
    ]
    text = "image,label,case,split\nr.tif|n.tif,sub/l.tif,a,test\nb.nii.gz,/abs/l.nii.gz,,\n"
    one = read_manifest(manifest(tmp_path, {"cases": cases}))
    two = read_manifest(manifest(tmp_path, "\ufeff" + text, "m.csv"))
    assert one == two
    first, second = one.cases
    assert first.image == (f"{tmp_path}/r.tif", f"{tmp_path}/n.tif")
    assert (first.label, first.split) == (f"{tmp_path}/sub/l.tif", "test")
    assert second.image == (f"{tmp_path}/b.nii.gz",)
    assert (second.label, second.split) == ("/abs/l.nii.gz", None)


CASE = {"id": "a", "image": "i.tif", "label": "l.tif"}
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\ncases: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"cases": [{**CASE, "imgae": "x"}]}, r"cases\.0\.imgae.*did you mean image"),
        ({"cases": [CASE], "clases": []}, "did you mean classes"),
        ({"cases": [CASE], "classes": [{**CLASSES[0], "color": 1}]}, "did you mean colour"),
        ({"cases": [{"id": "a", "image": "i.tif"}]}, r"cases\.0\.label.*required"),
        ({"cases": [{**CASE, "split": "train"}]}, "'training', 'validation' or 'test'"),
        ({"cases": [CASE, dict(CASE)]}, "two cases are called a"),
        ({"cases": []}, "at least 1"),
        ({"cases": [{**CASE, "image": []}]}, "at least 1"),
        ("[1, 2]", "no manifest"),
        ("cases: [", r"m\.yaml:1:9: not YAML"),
        (BOMB, "aliases are not read"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path: Path, text: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_manifest(manifest(tmp_path, text))
    assert "\n" not in error.value.message
    assert "m.yaml" in error.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,lable\na,b\n", "column 'lable'; did you mean label"),
        ("image,label\na.tif\n", "line 2: needs the columns"),
        ("image,label\na.tif,b.tif,c,d\n", "more values than"),
    ],
)
def test_what_is_no_csv_of_pairs_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_pairs([str(manifest(tmp_path, text, "m.csv"))])


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / "m.yaml").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="larger than 16 MiB"):
        read_manifest(tmp_path / "m.yaml")


def listed(folder: Path, n: int, **splits: str) -> str:
    """A manifest of ``n`` volumes, some with a split."""
    volume_pairs(folder, [(18, 17, 16)] * n, np.eye(4))
    cases = [
        {
            "id": f"case_{k}",
            "image": f"images/case_{k}.nii.gz",
            "label": f"labels/case_{k}.nii.gz",
            **({"split": splits[f"case_{k}"]} if f"case_{k}" in splits else {}),
        }
        for k in range(n)
    ]
    return str(manifest(folder, {"cases": cases}))


@pytest.mark.full
def test_splits_of_the_manifest_win_and_contradictions_are_refused(tmp_path: Path) -> None:
    given = listed(tmp_path / "v", 4, case_0="test", case_2="validation", case_3="training")
    make_patches([given], tmp_path / "d.zarr", recipe(3))
    found = PatchSet(tmp_path / "d.zarr").hold_out["cases"]
    assert found == {
        "case_0": "test",
        "case_1": "training",
        "case_2": "validation",
        "case_3": "training",
    }
    agreeing = recipe(3, hold_out={"test": {"cases": ["case_0"]}})
    make_patches([given], tmp_path / "e.zarr", agreeing)
    for hold_out in (
        {"test": {"cases": ["case_3"]}},
        {"test": {"cases": ["case_2"]}},
        {"test": {"boxes": [[[0, 0, 0], [4, 4, 4]]]}},
        {"folds": {"count": 3}},
    ):
        with pytest.raises(InputError, match="leave the split to one of them"):
            make_patches([given], tmp_path / "f.zarr", recipe(3, hold_out=hold_out))
    assert not list(tmp_path.glob("f.zarr*"))


def test_a_manifest_must_agree_with_the_recipe_and_may_ignore_values(tmp_path: Path) -> None:
    image, label = raster_pair(tmp_path, (40, 30)).split("=")
    plain = {"cases": [{"id": "a", "image": image, "label": label}], "ignore": [3]}
    found = find_pairs([str(manifest(tmp_path, plain))])
    assert found.agreed(recipe()).cut.ignore == (255, 3)
    for key, value in (("classes", CLASSES[:2]), ("channels", ["red"]), ("kind", "volume")):
        path = manifest(tmp_path, {**plain, key: value})
        with pytest.raises(InputError, match=f"other {key} than card.{key}"):
            make_patches([path], tmp_path / "d.zarr", recipe())
    whole = {"classes": CLASSES, "channels": ["address"], "kind": "raster"}
    find_pairs([str(manifest(tmp_path, {**plain, **whole}))]).agreed(recipe())


def test_stacked_files_are_one_image(tmp_path: Path) -> None:
    values = address_raster((40, 30), 3, "int16")
    values[1, 4:9, 3:5] = -1
    write_raster(tmp_path / "two.tif", values[:2], nodata=-1)
    write_raster(tmp_path / "nir.tif", values[2:].astype("uint8"))
    files = [open_source(tmp_path / name) for name in ("two.tif", "nir.tif")]
    stacked, box = Stacked(files), Box((3, 2), (30, 29))
    pixels = stacked.read(box)
    np.testing.assert_array_equal(pixels.values, values.transpose(1, 2, 0)[box.slices()])
    assert (pixels.values.dtype, stacked.info.dtype) == (np.int16, "int16")
    assert pixels.valid is not None
    np.testing.assert_array_equal(pixels.valid, (values != -1).transpose(1, 2, 0)[box.slices()])
    assert stacked.info.channels == ("band1", "band2", "nir")
    stacked.close()


def test_files_on_other_grids_are_not_stacked(tmp_path: Path) -> None:
    values = address_raster((40, 30), 1, "uint8")
    first = write_raster(tmp_path / "a.tif", values)
    moved = Affine(30, 0, 301920, 0, -30, 4154085)
    others = {
        "0.5 voxels apart": write_raster(tmp_path / "t.tif", values, transform=moved),
        "crs: WGS 84 / UTM zone 12N against WGS 84 / UTM zone 13N": write_raster(
            tmp_path / "c.tif", values, crs="EPSG:32613"
        ),
        r"extent \(40, 30\) against \(39, 30\)": write_raster(tmp_path / "e.tif", values[:, 1:]),
    }
    for said, other in others.items():
        with pytest.raises(InputError, match=said):
            Stacked([open_source(first), open_source(other)])
    flipped = np.diag([-1.0, 1, 1, 1])
    volumes = [
        write_volume(tmp_path / f"{k}.nii", np.zeros((5, 6, 7), "uint8"), affine)
        for k, affine in enumerate((np.eye(4), flipped))
    ]
    with pytest.raises(InputError, match="orientation RAS against LAS"):
        Stacked([open_source(path) for path in volumes])


def test_a_dataset_of_stacked_files_is_that_of_one_file(tmp_path: Path) -> None:
    image, label = raster_pair(tmp_path, (50, 40)).split("=")
    with_two = recipe(card={"channels": ["a", "b"]})
    second = address_raster((50, 40), 1, "uint16")
    write_raster(tmp_path / "second.tif", second)
    entry = {"id": "s", "image": ["scene.tif", "second.tif"], "label": "label.tif"}
    make_patches([manifest(tmp_path, {"cases": [entry]})], tmp_path / "d.zarr", with_two)
    both = np.stack([open_source(image).read(Box.whole((50, 40))).values[..., 0], second[0]])
    one = write_raster(tmp_path / "both.tif", both)
    make_patches([f"{one}={label}"], tmp_path / "e.zarr", with_two)
    a, b = PatchSet(tmp_path / "d.zarr"), PatchSet(tmp_path / "e.zarr")
    for row in a.rows("training"):
        np.testing.assert_array_equal(a.read(row)[0], b.read(row)[0])
    assert set(a.cases[0]["sha256"]) == {"image 1", "image 2", "label"}


def test_a_label_without_an_image_is_named(tmp_path: Path) -> None:
    folder = volume_pairs(tmp_path / "v", [(5, 5, 5)] * 2, np.eye(4))
    (tmp_path / "v/images/case_0.nii.gz").unlink()
    with pytest.raises(InputError, match=r"labels/case_0\.nii\.gz has no image"):
        find_pairs([folder])
