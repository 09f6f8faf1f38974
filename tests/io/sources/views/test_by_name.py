"""Channels are taken by the names that files give: in any order, among others, and never against them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from seg_batch.config.card_parts.channels import Channel, Channels
from seg_batch.core.errors import InputError
from seg_batch.io.sources import open_source
from seg_batch.io.sources.naming.channel_names import ChannelNames, labelled
from seg_batch.io.sources.protocol import SourceInfo
from seg_batch.io.sources.views.channels.by_name import (
    channel_fault,
    channels_called,
    taken_by_name,
)
from seg_batch.io.sources.views.image_spec import ImageSpec

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
LANDSAT = (
    Channel(name="blue", aliases=("B2",)),
    Channel(name="green", aliases=("B3",)),
    Channel(name="red", aliases=("B4",)),
    Channel(name="near infrared", aliases=("nir", "B5")),
)
RGB = tuple(Channel(name=name) for name in ("red", "green", "blue"))
NIR = ("NIR", "Near-Infrared", "near_infrared", "B05", "Band 5 - NIR", "Surface reflectance, nir")
SENTINEL_2 = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]
CENTRES = ("842", "665", "560", "490")


def raster(folder: Path, count: int, dtype: str = "uint16", **marks: Any) -> SourceInfo:
    """``names``: descriptions; ``colours``; ``tags``: of each band; ``options``: of the writer."""
    path = folder / "bands.tif"
    size: Any = {"driver": "GTiff", "height": 4, "width": 4, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", **size, **marks.get("options", {})) as file:
        file.write(np.ones((count, 4, 4), dtype))
        if "names" in marks:
            file.descriptions = marks["names"]
        if "colours" in marks:
            file.colorinterp = [ColorInterp[name] for name in marks["colours"]]
        for band, tags in enumerate(marks.get("tags", ()), 1):
            file.update_tags(band, **tags)
    return open_source(path).info


def plain(names: list[ChannelNames] | tuple[ChannelNames, ...]) -> SourceInfo:
    labels = tuple(each.names[0] if each.names else "-" for each in names)
    return SourceInfo(
        "i.tif", "geotiff", "raster", (2, 2), labels, "u1", None, (2, 2), names=tuple(names)
    )  # type: ignore[arg-type]


@given(st.permutations(range(6)), st.sampled_from(NIR))
def test_all_channels_are_found_in_any_order_and_among_others(order: list[int], nir: str) -> None:
    names = ["Blue", "B3", "red", nir, "ndvi", "swir16"]
    taken = taken_by_name(plain(labelled([names[k] for k in order])), LANDSAT)
    assert taken.indices == tuple(order.index(k) for k in range(4))
    for k, channel in enumerate(LANDSAT):
        assert f"{channel.name} = {order.index(k) + 1}" in taken.line


@pytest.mark.parametrize(
    "marks",
    [
        {"tags": [{"wavelength": w} for w in CENTRES]},
        {"tags": [{"CENTRAL_WAVELENGTH_UM": str(float(w) / 1000)} for w in CENTRES]},
        {"tags": [{"wavelength": w, "wavelength_units": "nm"} for w in CENTRES]},
        {"tags": [{"eo:common_name": n} for n in ("nir", "red", "green", "blue")]},
        {"tags": [{"BANDNAME": n} for n in ("B5", "B4", "B3", "B2")]},
        {"colours": ("nir", "red", "green", "blue")},
        {"names": ("Band 5", "Band 4", "Band 3", "Band 2")},
        {"names": tuple(f"B?, central wavelength {w} nm" for w in CENTRES)},
        {"names": ("N", "R", "G", "B"), "colours": ("nir", "undefined", "undefined", "undefined")},
    ],
)  # fmt: skip
def test_every_kind_of_name_is_read(tmp_path: Path, marks: dict[str, Any]) -> None:
    assert taken_by_name(raster(tmp_path, 4, **marks), LANDSAT).indices == (3, 2, 1, 0)


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["blue", "green", "red", "nir"], 4),
        (["B2", "B3", "B4", "B5"], 4),
        (["blue", "green", "red", "nir08"], 4),
        (["Band 1", "Band 2", "Band 3", "Band 4"], 4),
        (["B1", "B2", "B3", "B4"], 4),
        (["1", "2", "3", "4"], 4),
        (["", "", "", ""], 4),
        (["a", "b", "c", "d"], 4),
        (["blue", "green", "red", "my index"], 4),
        (["", "", "", "nir"], 4),
    ],
)
def test_names_in_order_or_without_meaning_are_no_news(names: list[str], count: int) -> None:
    info = plain(labelled(names))
    assert taken_by_name(info, LANDSAT).indices is None
    assert taken_by_name(info, LANDSAT).line == ""
    assert channel_fault(info, LANDSAT) is None
    assert len(info.channels) == count


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["red", "green", "blue", "index"], "none is named as near infrared"),
        (["blue", "green", "red", "swir16"], "none is named as near infrared"),
        (["blue", "green", "red", "swir"], "none is named as near infrared"),
        (["blue", "green", "red", "QA_PIXEL"], "none is named as near infrared"),
        (["VV", "VH", "HH", "HV"], "are named VV, VH"),
        (["nir", "swir16", "swir22", "pan"], "are named nir, swir16"),
        (["blue", "green", "red", "nir", "nir"], "both named as near infrared"),
        (["blue", "green", "red", "B5", "SR_B5"], "both named as near infrared"),
        (["blue", "green", "red"], "has 3, none of which is named as near infrared"),
        (SENTINEL_2, "none of which is named as near infrared"),  # whose B5 is red edge
    ],
)
def test_names_that_contradict_are_refused_with_what_to_do(names: list[str], said: str) -> None:
    fault = channel_fault(plain(labelled(names)), LANDSAT)
    assert fault is not None
    assert said in fault
    assert "--bands" in fault or "has" in fault


def test_numbers_mean_what_the_card_says_and_the_wavelength_confirms() -> None:
    info = plain(labelled([f"B{k}" for k in range(1, 8)]))  # the first seven of Landsat 8
    assert taken_by_name(info, LANDSAT).indices == (1, 2, 3, 4)
    sentinel = (*LANDSAT[:3], Channel(name="nir", aliases=("B8",)))
    assert taken_by_name(plain(labelled(SENTINEL_2)), sentinel).indices == (1, 2, 3, 7)
    red_edge = labelled(
        ["B2", "B3", "B4", "B5"], [{"wavelength_nm": w} for w in (490, 560, 665, 705)]
    )
    assert channel_fault(plain(red_edge), LANDSAT)
    unknown = tuple(Channel(name=name) for name in "wxyz")
    assert taken_by_name(info, unknown).indices is None


@pytest.mark.parametrize("options", [{}, {"photometric": "RGB"}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_that_writers_put_there_unasked_contradict_nothing(
    tmp_path: Path, dtype: str, options: dict[str, Any]
) -> None:
    for names in ({}, {"names": ("blue", "green", "red", "nir")}):
        info = raster(tmp_path, 4, dtype, options=options, **names)
        assert taken_by_name(info, LANDSAT).indices is None
        assert channel_fault(info, LANDSAT) is None


def test_colours_alone_tell_where_they_name_all(tmp_path: Path) -> None:
    info = raster(tmp_path, 3, "uint8")
    assert taken_by_name(info, RGB).indices is None
    assert taken_by_name(info, RGB[::-1]).indices == (2, 1, 0)
    named = raster(tmp_path, 3, "uint8", names=("blue", "green", "red"))
    assert taken_by_name(named, RGB).indices == (2, 1, 0)


@pytest.mark.parametrize(
    "files",
    [
        ("LC08_B5.tif", "LC08_B4.tif", "LC08_B3.tif", "LC08_B2.tif"),
        ("red_hill_nir.tif", "red_hill_red.tif", "red_hill_green.tif", "red_hill_blue.tif"),
        ("a-near_infrared-10m.tif", "a-red-10m.tif", "a-green-10m.tif", "a-blue-10m.tif"),
        ("nir/x.tif", "red/x.tif", "green/x.tif", "blue/x.tif"),
    ],
)
def test_files_of_a_stack_are_named_by_what_differs(tmp_path: Path, files: tuple[str, ...]) -> None:
    paths = [tmp_path / name for name in files]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        raster(tmp_path, 1)
        (tmp_path / "bands.tif").rename(path)
    with closing(ImageSpec(tuple(map(str, paths))).open()) as image:
        assert taken_by_name(image.info, LANDSAT).indices == (3, 2, 1, 0)
    with closing(ImageSpec(tuple(map(str, paths[::-1]))).open()) as image:
        assert taken_by_name(image.info, LANDSAT).indices is None
    assert not any(open_source(paths[0]).info.names)


def test_bands_by_hand_are_names_or_numbers() -> None:
    info = plain(labelled(["NIR", "red", "B3", "Blue (B2)", "red 2"]))
    assert channels_called(info, ("near infrared", "RED", "3", "B02")) == (0, 1, 2, 3)
    for wrong in ("0", "6", "B4", "swir16", "-1"):
        with pytest.raises(InputError, match=r"no band .*; it has 1 NIR, 2 red, 3 B3"):
            channels_called(info, ("1", wrong))
    with pytest.raises(InputError, match="twice, as 1 and 2"):
        channels_called(plain(labelled(["nir", "NIR"])), ("near infrared",))
    unnamed = plain([ChannelNames()] * 4)
    with pytest.raises(InputError, match="no band 'B3'"):  # the third may be any band
        channels_called(unnamed, ("B3",))


def test_the_name_of_a_channel_comes_before_its_aliases() -> None:
    landsat = (*LANDSAT[:3], Channel(name="near infrared", aliases=("nir08", "B5")))
    names = ["blue", "green", "red", "rededge071", "nir", "nir08"]  # as STAC has Sentinel-2
    assert taken_by_name(plain(labelled(names)), landsat).indices == (0, 1, 2, 4)
    for only in ("nir08", "B5"):
        taken = taken_by_name(plain(labelled(["x", only, "red", "green", "blue"])), landsat)
        assert taken.indices == (4, 3, 2, 1)
    narrow = (*LANDSAT[:3], Channel(name="nir08"))
    assert taken_by_name(plain(labelled(names)), narrow).indices == (0, 1, 2, 5)


def test_models_without_names_take_what_comes() -> None:
    channels: Channels | None = None
    assert taken_by_name(plain(labelled(["nir", "red"])), channels).indices is None
    assert channel_fault(plain(labelled(["nir", "red"])), channels) is None
