"""What counts as a path of this machine, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError, OutputError
from seg_batch.core.files import (
    kind_of_address,
    require_local_input,
    require_local_output,
)

ADDRESSES = {
    "s3://bucket/out.tif": "a URL",
    " s3://bucket": "a URL",
    "S3:/bucket/out.tif": "a URL",
    "zarr+https://host/x": "a URL",
    "file:out.tif": "a URL",
    "FILE:///tmp/x": "a URL",
    "host:/data/x.tif": "a URL",
    "user@host:/data": "an address on another machine",
    "user@host:~/x": "an address on another machine",
    "/vsis3/bucket/x.tif": "a virtual path of GDAL",
    "//vsizip/a.zip/x.tif": "a virtual path of GDAL",
}
PATHS = (
    *("out.tif", "/data/x.tif", "./s3:/bucket", "/data/s3:/bucket/x.tif", "a:b.tif", "12:30.tif"),
    *("vsi/x.tif", "/data/vsi/x.tif", "C:/x.tif", "a@b.tif", "a@b:c.tif", "", ".", "profile:x"),
)


@pytest.mark.parametrize(("text", "kind"), ADDRESSES.items())
def test_addresses_are_refused_in_one_line_that_names_them(text: str, kind: str) -> None:
    assert kind_of_address(text) == kind
    for require, error in ((require_local_input, InputError), (require_local_output, OutputError)):
        for given_as in (text, Path(text)):
            with pytest.raises(error) as refused:
                require(given_as)
            assert kind in refused.value.message
            assert str(given_as) in refused.value.message
            assert "\n" not in refused.value.message


@pytest.mark.parametrize("text", PATHS)
def test_names_with_odd_signs_are_paths(text: str) -> None:
    assert kind_of_address(text) is None


@given(st.text(st.characters(exclude_characters="\0"), max_size=30))
def test_any_name_can_be_given_from_the_current_folder(name: str) -> None:
    assert kind_of_address(f"./{name}") is None


@pytest.mark.parametrize("address", ["ftp://u:geheim@h/a.tif?sig=geheim", "/vsicurl/https://h/a.tif?sig=geheim", " https://u:geheim@h/a"])  # fmt: skip
def test_a_refusal_tells_no_secret(address: str) -> None:
    with pytest.raises(InputError) as caught:
        require_local_input(address)
    assert "geheim" not in caught.value.message
    assert "h/a" in caught.value.message
