"""Which assets of an item make up an image, and what the item says of their bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_batch.batch.inputs.stac.assets import chosen
from seg_batch.batch.inputs.stac.items import items_at, resolved
from seg_batch.config.card_parts.channels import Channel
from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.remote.documents import Documents
from seg_batch.io.sources.naming.stac_item import StacItem, bands_of
from seg_batch.io.sources.views.image_spec import ImageSpec
from tests.support.files import write_raster
from tests.support.remote.catalogue import band, item

BANDS: dict[str, Any] = {
    "thumbnail": {"href": "t.png", "type": "image/png", "roles": ["thumbnail"]},
    "visual": {**band("TCI"), "roles": ["visual"]},
    "red-jp2": {**band("B04"), "type": "image/jp2", "eo:bands": [{"name": "B04", "common_name": "red"}]},
    "red": band("B04", **{"eo:bands": [{"name": "B04", "common_name": "red"}]}),
    "nir": band("B08", bands=[{"name": "B08", "eo:common_name": "nir"}]),
    "green": band("B03", **{"eo:bands": [{"name": "B03", "common_name": "green"}]}),
    "metadata": {"href": "m.xml", "type": "application/xml", "roles": ["metadata"]},
}  # fmt: skip


def keys(
    channels: tuple[str, ...] | None, *asked: str, assets: dict[str, Any] = BANDS
) -> list[str]:
    wanted = channels and tuple(Channel(name=name) for name in channels)
    return [b.key for _, b in chosen(item("a", assets), "/data/a.json", asked, wanted)]


def test_by_the_channels_of_the_model_in_its_order() -> None:
    assert keys(("nir", "red")) == ["nir", "red"]
    assert keys(("B03", "B08")) == ["green", "nir"]
    assert keys(None) == ["red", "nir", "green"]
    quality = {**band("QA_PIXEL"), "roles": ["data", "cloud"]}
    assert keys(None, assets={"red": BANDS["red"], "qa": quality}) == ["red"]
    assert keys(("nir", "red"), "green", "red-jp2") == ["green", "red-jp2"]


@pytest.mark.parametrize(
    ("channels", "asked", "line"),
    [
        (("nir", "swir16", "red"), (), "no asset is the channel swir16"),
        (None, ("swir",), "no asset 'swir': it has thumbnail"),
    ],
)
def test_what_is_missing_is_named(channels: Any, asked: tuple[str, ...], line: str) -> None:
    with pytest.raises(InputError, match=line):
        keys(channels, *asked)


def test_an_item_without_data() -> None:
    with pytest.raises(InputError, match="no asset is a raster"):
        keys(None, assets={"thumbnail": BANDS["thumbnail"]})
    with pytest.raises(InputError, match="none at all"):
        keys(None, assets={})


@pytest.mark.parametrize(
    "said",
    [
        {"raster:bands": [{"scale": 0.5, "offset": -1, "nodata": 7}]},
        {"bands": [{"name": "B", "raster:scale": 0.5, "raster:offset": -1, "nodata": 7}]},
        {"raster:scale": 0.5, "raster:offset": -1, "nodata": 7},
    ],
)
@pytest.mark.parametrize("applied", [False, True])
def test_numbers_of_the_item_count_where_the_file_has_none(
    tmp_path: Any, said: dict[str, Any], applied: bool
) -> None:
    values = np.arange(16 * 24, dtype="uint16").reshape(1, 16, 24)
    properties = {"earthsearch:boa_offset_applied": applied}
    bands = bands_of("b", {"href": "b.tif", **said}, "b.tif", properties)
    found = StacItem("a", assets=(bands,))
    for own, scale in ((None, 0.5), (0.25, 0.25)):
        path = write_raster(tmp_path / f"{own}.tif", values)
        if own:
            import rasterio

            with rasterio.open(path, "r+") as file:
                file.scales, file.offsets = [own], [3.0]
        source = ImageSpec((str(path),), item=found).open()
        pixels = source.read(Box((0, 0), (16, 24)))
        offset = 3.0 if own else 0.0 if applied else -1.0
        assert (pixels.scale or (1,))[0] == scale
        assert (pixels.offset or (0.0,))[0] == offset
        assert pixels.valid is not None
        assert (pixels.valid[..., 0] == (values[0] != 7)).all()
        assert source.info.identity["item"]["assets"][0]["scale"] == (0.5,)
        source.close()


def test_more_numbers_than_bands_are_refused(tmp_path: Any) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((3, 8, 8), "uint8"))
    said = {"raster:bands": [{"scale": 0.5}, {"scale": 0.25}]}
    found = StacItem("a", assets=(bands_of("a", said, "a", {}),))
    with pytest.raises(InputError, match=r"3 bands.* a scale for each of 2"):
        ImageSpec((str(path),), item=found).open()


@pytest.mark.parametrize(
    ("href", "base", "to"),
    [
        ("./b.tif", "/data/s2/a.json", "/data/s2/b.tif"),
        ("../b.tif", "/data/s2/a.json", "/data/b.tif"),
        ("file:" + "///x/y%20z.tif", "/data/a.json", "/x/y z.tif"),
        ("b.tif", "https://h/c/a.json?sig=1", "https://h/c/b.tif"),
        ("/b.tif", "https://h/c/a.json", "https://h/b.tif"),
        ("s3://bucket/b.tif", "/data/a.json", "s3://bucket/b.tif"),
    ],
)
def test_addresses_start_at_their_document(href: str, base: str, to: str) -> None:
    assert resolved(href, base) == to


@pytest.mark.parametrize("href", ["file:" + "///etc/passwd", "//other/x.tif"])
def test_a_document_of_a_host_leads_to_no_file_here(href: str) -> None:
    with pytest.raises(InputError, match="no place on its host"):
        resolved(href, "https://h/c/a.json")


def test_items_below_a_catalogue_each_once_though_it_goes_in_circles(tmp_path: Any) -> None:
    import json

    def put(name: str, document: Any) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document))

    def catalogue(*links: tuple[str, str]) -> dict[str, Any]:
        return {"type": "Catalog", "links": [{"rel": r, "href": h} for r, h in links]}

    put("root.json", catalogue(("child", "c/c.json"), ("item", "a.json"), ("item", "gone.json")))
    put("c/c.json", catalogue(("root", "../root.json"), ("child", "../root.json"), ("item", "b.json"), ("item", "bad.json")))  # fmt: skip
    put("a.json", item("a", {}))
    put("c/b.json", {"type": "FeatureCollection", "features": [item("b", {}), item("c", {})]})
    put("c/bad.json", "[1]")
    found = list(items_at(str(tmp_path / "root.json"), Documents()))
    assert sorted(each.item["id"] for each in found if not each.fault) == ["a", "b", "c"]
    faults = sorted(each.fault for each in found if each.fault)
    assert "no JSON object" in faults[0]
    assert "gone.json can't be read" in faults[1]


@pytest.mark.parametrize(
    ("href", "target"),
    [
        ("b.tif", "s3://maps/a/b.tif"),
        ("./b%20c.tif", "s3://maps/a/b c.tif"),
        ("../b.tif", "s3://maps/b.tif"),
        ("../../../other/b.tif", "s3://maps/other/b.tif"),
        ("%2e%2e/%2e%2e/b.tif", "s3://maps/b.tif"),
        ("/b.tif", "s3://maps/b.tif"),
        ("https://host/b.tif", "https://host/b.tif"),
    ],
)
def test_an_item_in_a_bucket_leads_to_what_lies_beside_it(href: str, target: str) -> None:
    assert resolved(href, "s3://maps/a/item.json") == target


@pytest.mark.parametrize("href", ["FILE:///etc/passwd", "file:/etc/passwd", "//host/b.tif", "C:/b.tif"])  # fmt: skip
@pytest.mark.parametrize("base", ["s3://maps/a/item.json", "https://host/item.json"])
def test_a_remote_item_leads_to_no_file_of_this_machine(href: str, base: str) -> None:
    with pytest.raises(InputError, match="no place on its host"):
        resolved(href, base)
