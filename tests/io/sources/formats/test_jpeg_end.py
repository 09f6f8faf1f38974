"""A JPEG ends at its end-of-image marker: what follows is no part of it, and without it the file is cut."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source
from tests.support.files import address_raster

THUMBNAIL = b"\xff\xd8\xff\xd9"
SEGMENT = b"\xff\xe1" + (2 + len(THUMBNAIL)).to_bytes(2, "big") + THUMBNAIL


@pytest.fixture(scope="module", params=["NO", "YES"])
def photo(request, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    shape = {"width": 90, "height": 70, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="JPEG", PROGRESSIVE=request.param, **shape) as file:
        file.write(address_raster((70, 90), 3, "uint8"))
    return path.read_bytes()


@given(data=st.data())
def test_only_the_marker_ends_it(photo: bytes, tmp_path_factory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    keep = data.draw(st.integers(len(photo) // 2, len(photo) - 1))
    after = data.draw(
        st.sampled_from([b"", b"\0", b"\xff", b"\xff\xd9x", b"mp4" * 99, bytes(2 << 20)])
    )
    whole = data.draw(st.booleans())
    inside = data.draw(st.sampled_from([b"", SEGMENT]))
    image = photo[:2] + inside + photo[2:]
    path.write_bytes(image + after if whole else image[: len(inside) + keep] + bytes(8))
    if not whole:
        with pytest.raises(InputError, match="cut short"):
            open_source(path)
        return
    with closing(open_source(path)) as source, rasterio.MemoryFile(photo) as memory:
        read = source.read(Box.whole(source.info.extent)).values
        with memory.open(driver="JPEG") as file:
            assert np.array_equal(read, file.read().transpose(1, 2, 0))


def test_the_end_of_a_thumbnail_is_not_that_of_the_image(photo: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(photo[:2] + SEGMENT + photo[2 : len(photo) * 3 // 4])
    with pytest.raises(InputError, match="cut short"):
        open_source(path)
