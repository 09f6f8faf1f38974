"""What the files of one image are called, and the channel in each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.io.sources.naming.stack_names import channel_names, image_stem, mosaic_stem

WORDS = st.text("abt12", min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("paths", "stem", "names"),
    [
        (["red.tif", "nir.tif"], "red", ["red", "nir"]),
        (["a/p_7_t1c.nii.gz", "a/p_7_flair.nii.gz"], "p_7", ["t1c", "flair"]),
        (["BRATS_001_0000.nii.gz", "BRATS_001_0001.nii.gz"], "BRATS_001", ["0000", "0001"]),
        (["L9_SR_B4.TIF", "L9_SR_B5.TIF"], "L9_SR", ["B4", "B5"]),
        (["t1_brain.nii", "t2_brain.nii"], "t1_brain", ["t1", "t2"]),
        (["scan.nii", "scan_t2.nii"], "scan", ["scan", "scan_t2"]),
        (["t1c/p7.nii", "flair/p7.nii"], "p7", ["t1c", "flair"]),
        (["v1.5_red.tif"], "v1.5_red", ["v1.5_red"]),
        (["B02.tif", "B03.tif"], "B02", ["B02", "B03"]),
    ],
)
def test_names(paths: list[str], stem: str, names: list[str]) -> None:
    assert (image_stem(paths), channel_names(paths)) == (stem, names)


@given(st.lists(WORDS, max_size=3), st.lists(WORDS, min_size=2, max_size=4, unique=True))
def test_words_before_the_channels_name_the_image(before: list[str], channels: list[str]) -> None:
    paths = ["_".join([*before, channel]) + ".nii.gz" for channel in channels]
    assert channel_names(paths) == channels
    assert image_stem(paths) == ("_".join(before) or channels[0])


def test_a_mosaic_is_not_called_as_one_of_its_pieces() -> None:
    assert mosaic_stem(["/d/tiles/t00.tif", "/d/tiles/t01.tif"]) == "tiles"
    assert mosaic_stem(["/d/x/berlin_1.tif", "/d/y/berlin_2.tif"]) == "berlin"
    assert (
        mosaic_stem(["https://host/country/a.tif?sig=1", "https://host/country/b.tif"]) == "country"
    )
    assert mosaic_stem(["/d/tiles/only.tif"]) == "only"
