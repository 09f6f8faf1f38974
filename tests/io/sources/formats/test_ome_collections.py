"""OME-Zarr stores of several images: the only one is read, of several the paths are listed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source

VALUES = np.arange(4 * 6 * 5, dtype="u1").reshape(4, 6, 5)


def say(group: zarr.Group, version: int, facts: dict[str, Any]) -> None:
    group.attrs.update(facts if version == 2 else {"ome": {"version": "0.5", **facts}})


def add_image(group: zarr.Group, name: str, version: int) -> None:
    image = group.create_group(name)
    image.create_array("0", data=VALUES, chunks=(2, 6, 5))
    axes = [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    scale = [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]
    level = {"path": "0", "coordinateTransformations": scale}
    say(image, version, {"multiscales": [{"axes": axes, "datasets": [level]}]})


def series(path: Path, version: int, count: int, listed: bool) -> Path:
    """As bioformats2raw lays a file out."""
    root = zarr.create_group(path, zarr_format=version)
    say(root, version, {"bioformats2raw.layout": 3})
    names = [str(n) for n in range(count)]
    folder = root.create_group("OME")
    if listed:
        say(folder, version, {"series": names})
    for name in names:
        add_image(root, name, version)
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("listed", [True, False])
def test_the_only_series_is_read(tmp_path: Path, version: int, listed: bool) -> None:
    path = series(tmp_path / "a.zarr", version, 1, listed)
    with closing(open_source(path)) as source:
        assert source.info.georef.spacing == (2.0, 0.5, 0.5)
        assert np.array_equal(source.read(Box.whole(source.info.extent)).values[..., 0], VALUES)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("listed", [True, False])
def test_several_series_are_listed_and_each_can_be_given(
    tmp_path: Path, version: int, listed: bool
) -> None:
    path = series(tmp_path / "a.zarr", version, 3, listed)
    with pytest.raises(InputError, match="collection of 3 images") as refused:
        open_source(path)
    for name in "012":
        assert str(path / name) in refused.value.message
        with closing(open_source(path / name)) as source:
            assert source.info.extent == VALUES.shape


@pytest.mark.parametrize("version", [2, 3])
def test_plates_and_wells_are_listed(tmp_path: Path, version: int) -> None:
    root = zarr.create_group(tmp_path / "p.zarr", zarr_format=version)
    say(root, version, {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}})
    well = root.create_group("A/1")
    say(well, version, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
    for name in "01":
        add_image(well, name, version)
    for path, named in (("", "A/1/0"), ("A/1", "1")):
        with pytest.raises(InputError, match="collection of 2 images") as refused:
            open_source(tmp_path / "p.zarr" / path)
        assert str(tmp_path / "p.zarr" / path / named) in refused.value.message


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    say(root, 3, {"bioformats2raw.layout": 3})
    say(root.create_group("OME"), 3, {"series": ["7"]})
    with pytest.raises(InputError, match="an image 7, which is not there"):
        open_source(tmp_path / "a.zarr")


def described(path: Path, shape: tuple[int, ...], *entries: dict[str, Any]) -> Path:
    """An image whose metadata are these entries, each of its full resolution only."""
    group = zarr.create_group(path, zarr_format=2)
    group.create_array("0", data=np.zeros(shape, "u1"), chunks=shape)
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], **entry} for entry in entries]
    return path


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_early_images_have_five_axes_without_names(tmp_path: Path, version: str) -> None:
    path = described(tmp_path / "a.zarr", (1, 1, 4, 6, 5), {"version": version})
    with closing(open_source(path)) as source:
        assert source.info.extent == (4, 6, 5)
        assert any("no voxel sizes" in line for line in source.info.warnings)


def test_axes_may_be_texts_and_one_of_several_images_is_named(tmp_path: Path) -> None:
    entry = {"version": "0.3", "axes": ["z", "y", "x"]}
    path = described(tmp_path / "a.zarr", (4, 6, 5), entry, entry)
    with closing(open_source(path)) as source:
        assert source.info.extent == (4, 6, 5)
        assert any("2 images: the first is read" in line for line in source.info.warnings)
