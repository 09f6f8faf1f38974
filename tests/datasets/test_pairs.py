"""Image and label lie on one grid, or nothing is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from rasterio.transform import Affine

from seg_batch.config.recipe import read_recipe
from seg_batch.core.errors import InputError, OutputError
from seg_batch.datasets.build import make_patches
from seg_batch.datasets.pairs import check_pair, find_pairs
from tests.support.files import write_raster, write_volume
from tests.support.training.recipes import IDS, class_indices, raster_pair, recipe, volume_pairs

LANDSAT = Path(__file__).parents[2] / "workflows" / "landsat8-landcover.yaml"


def refused(pair: str, **changes: Any) -> str:
    """Why a pair is refused, from its headers alone."""
    with pytest.raises(InputError) as error:
        check_pair(find_pairs([pair]).pairs[0], recipe(**changes))
    return str(error.value)


def test_real_labels_on_another_grid_and_datum_are_refused(data: Path, tmp_path: Path) -> None:
    zion = data / "zion_landsat8_nlcd"
    pair = f"{zion / 'landsat8_b2345.tif'}={zion / 'other_grid_nlcd.tif'}"
    with pytest.raises(InputError, match="not on the grid") as error:
        make_patches([pair], tmp_path / "out.zarr", LANDSAT)
    for named in ("extent (1428, 564) against", "crs:", "NAD83", "resample"):
        assert named in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_real_pair_on_one_grid_passes(data: Path) -> None:
    zion = data / "zion_landsat8_nlcd"
    pair = f"{zion / 'landsat8_b2345.tif'}={zion / 'label_nlcd8_on_landsat_grid.tif'}"
    assert check_pair(find_pairs([pair]).pairs[0], read_recipe(LANDSAT)).extent == (1428, 564)


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ({"crs": "EPSG:32613"}, "crs"),
        ({"crs": None}, "against none"),
        ({"transform": Affine(30, 0, 301905, 0, -30, 4154100)}, "0.5 voxels apart"),
        ({"transform": Affine(30, 0, 301905, 0, 30, 4154085)}, "voxels apart"),
    ],
)
def test_half_a_pixel_or_another_crs_is_refused_by_name(
    tmp_path: Path, profile: dict[str, Any], named: str
) -> None:
    pair = raster_pair(tmp_path, (40, 30), **profile)
    if profile.get("crs", "") is None:  # the label has none
        pair = "=".join(reversed(pair.split("=")))
    assert named in refused(pair)


def test_a_label_one_row_short_is_refused(tmp_path: Path) -> None:
    image, _ = raster_pair(tmp_path, (40, 30)).split("=")
    label = write_raster(tmp_path / "short.tif", np.ones((1, 39, 30), "uint8"))
    assert "extent (40, 30) against (39, 30)" in refused(f"{image}={label}")


def test_channels_and_kind_are_refused_by_number(tmp_path: Path) -> None:
    pair = raster_pair(tmp_path, (40, 30))
    assert "names 2 (a, b)" in refused(pair, card={"channels": ["a", "b"]})
    assert "is a raster" in refused(pair, rank=3)
    image, _ = pair.split("=")
    label = write_raster(tmp_path / "two.tif", np.ones((2, 40, 30), "uint8"))
    assert "a label image has one" in refused(f"{image}={label}")


def test_volumes_a_millimetre_apart_are_refused_but_codes_do_not_matter(tmp_path: Path) -> None:
    folder = volume_pairs(tmp_path / "cases", [(20, 18, 16)], np.eye(4))
    label = Path(folder) / "labels/case_0.nii.gz"
    volume = nibabel.load(label)
    values, affine = np.asarray(volume.dataobj), np.eye(4)
    volume.header["sform_code"], volume.header["qform_code"] = 4, 1
    nibabel.Nifti1Image(values, None, volume.header).to_filename(label)
    check_pair(find_pairs([folder]).pairs[0], recipe(3))
    affine[2, 3] = 1
    write_volume(label, values, affine)
    assert "1 voxels apart" in refused(folder, rank=3)


def test_label_values_that_are_no_class_are_refused_and_named(tmp_path: Path) -> None:
    image, _ = raster_pair(tmp_path, (40, 30)).split("=")
    values = IDS[class_indices((40, 30))].astype("uint8")
    values[3, 4:7], values[9, 2] = 9, 200
    label = write_raster(tmp_path / "odd.tif", values[None])
    with pytest.raises(InputError, match=r"odd\.tif.*\(9, 200, 4 voxels\)"):
        make_patches([f"{image}={label}"], tmp_path / "out.zarr", recipe())
    assert not (tmp_path / "out.zarr").exists()
    found = recipe(cut={"ignore": [9, 200]})
    made = make_patches([f"{image}={label}"], tmp_path / "out.zarr", found)
    assert sum(made["training_voxels"].values()) > 0


def test_an_existing_dataset_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    pair, out = raster_pair(tmp_path, (40, 30)), tmp_path / "out.zarr"
    make_patches([pair], out, recipe())
    with pytest.raises(OutputError, match="--overwrite"):
        make_patches([pair], out, recipe())
    make_patches([pair], out, recipe(cut={"overlap": [0, 0]}), overwrite=True)
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="give another output"):
        make_patches([pair], tmp_path / "mine", recipe(), overwrite=True)


def test_pairs_come_from_a_folder_and_from_a_csv(tmp_path: Path) -> None:
    folder = volume_pairs(tmp_path / "cases", [(5, 5, 5)] * 2, np.eye(4))
    assert [p.case for p in find_pairs([folder]).pairs] == ["case_0", "case_1"]
    rows = ["image,label,case", "images/case_1.nii.gz,labels/case_1.nii.gz,patient"]
    (tmp_path / "cases/pairs.csv").write_text("\n".join(rows))
    (pair,) = find_pairs([f"{folder}/pairs.csv"]).pairs
    assert (pair.case, Path(pair.label).exists()) == ("patient", True)
    with pytest.raises(InputError, match="two pairs are called case_0"):
        find_pairs([folder, folder])
    (tmp_path / "cases/labels/case_1.nii.gz").unlink()
    with pytest.raises(InputError, match="has no label"):
        find_pairs([folder])


def test_side_files_are_no_images_of_a_folder(tmp_path: Path) -> None:
    for name in ("images/a.tif", "labels/a.tif", "images/a.tif.aux.xml", "images/a.tfw", "labels/a.tif.ovr",
                 "images/b.nii.gz", "labels/b.nii.gz", "images/b.json", "images/c.png", "labels/c.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [pair.case for pair in find_pairs([str(tmp_path)]).pairs] == ["a", "b", "c"]
    (tmp_path / "images/d.tif.aux.xml").touch()
    with pytest.raises(InputError, match="has no label"):
        find_pairs([str(tmp_path)])


def test_a_class_that_the_label_declares_as_nodata_is_refused_unless_it_is_ignored(
    tmp_path: Path,
) -> None:
    pair = raster_pair(tmp_path, (40, 30))
    values = IDS[class_indices((40, 30))][None].astype("uint8")
    write_raster(Path(pair.partition("=")[2]), values, nodata=int(IDS[0]))
    assert "as nodata, which is a class here" in refused(pair)
    assert check_pair(find_pairs([pair]).pairs[0], recipe(cut={"ignore": [int(IDS[0])]}))
