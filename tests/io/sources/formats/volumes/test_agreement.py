"""Voxels and places are those that SimpleITK reads, for all that both read."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from seg_batch.core.geometry import Box
from seg_batch.core.georef import VolumeGeoref
from seg_batch.io.sources import open_source, stage
from tests.support.io.text_volumes import address, itk_image, meta, nrrd, require_as_itk

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("compressed", [False, True])
def test_every_type_of_number(tmp_path: Path, ending: str, compressed: bool) -> None:
    for dtype in DTYPES:
        path = tmp_path / f"{dtype}{ending}"
        SimpleITK.WriteImage(itk_image(address(4, 5, 6).astype(dtype)), str(path), compressed)
        staged = stage(path, tmp_path / "staged")
        with (
            closing(open_source(path)) as source,
            closing(open_source(path, staged=staged)) as again,
        ):
            assert (source.info.format, source.info.kind) == (again.info.format, "volume")
            require_as_itk(source, path)
            box = Box((1, 1, 2), (3, 4, 5))
            np.testing.assert_array_equal(
                again.read(box).values[..., 0], address(4, 5, 6).astype(dtype)[box.slices()]
            )


def turns() -> list[np.ndarray]:
    """All 48 orientations of axes along axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            found.append(np.eye(3)[list(order)] * np.array(signs)[:, None])
    return found


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_all_orientations(tmp_path: Path, ending: str) -> None:
    for n, turn in enumerate(turns()):
        path = tmp_path / f"{n}{ending}"
        if ending == ".nrrd":
            directions = " ".join(
                f"({','.join(map(str, turn[:, axis] * size))})"
                for axis, size in enumerate((1.5, 2.5, 0.7))
            )
            nrrd(path, address(3, 4, 5), space_directions=directions)
        else:
            meta(path, address(3, 4, 5), TransformMatrix=" ".join(map(str, turn.T.ravel())))
        with closing(open_source(path)) as source:
            require_as_itk(source, path)


@pytest.mark.parametrize(
    "space", ["RAS", "LAS", "LPS", "right-anterior-superior", "left-anterior-superior"]
)
def test_the_spaces_of_an_nrrd(tmp_path: Path, space: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", address(3, 4, 5), space=space, space_directions="(1,.1,0) (0.1,-2,0) (.2,0,3)")  # fmt: skip
    source = open_source(path)
    assert isinstance(source.info.georef, VolumeGeoref)
    signs = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
    letters = space if len(space) == 3 else "".join(word[0].upper() for word in space.split("-"))
    direction = np.array([[1, 0.1, 0.2], [0.1, -2, 0], [0, 0, 3]])
    expected = np.diag([signs[letter] for letter in letters]) @ np.c_[direction, [-3, 4.1, 5]]
    np.testing.assert_allclose(source.info.georef.matrix[:3], expected)


@pytest.mark.parametrize(
    ("fields", "drop"),
    [
        ({"spacings": "1.5 2.5 0.7"}, ("space", "space directions", "space origin")),
        ({"spacings": "1.5 2.5 0.7", "axis mins": "3 4 5", "centers": "cell node cell"},
         ("space", "space directions", "space origin")),
        ({"spacings": "1.5 2.5 0.7", "axis mins": "3 4 5", "centers": "node node node"},
         ("space", "space directions", "space origin")),
        ({"space dimension": "3"}, ("space",)),
        ({"space": "scanner-xyz"}, ()),
        ({}, ("space origin",)),
        ({"endian": "big"}, ()),
        ({"space units": '"mm" "mm" "mm"', "measurement frame": "(0,1,0) (1,0,0) (0,0,1)"}, ()),
    ],
)  # fmt: skip
def test_what_an_nrrd_may_state_otherwise(
    tmp_path: Path, fields: dict[str, str], drop: tuple[str, ...]
) -> None:
    path = nrrd(tmp_path / "a.nrrd", address(3, 4, 5), drop=drop, **fields)
    with closing(open_source(path)) as source:
        require_as_itk(source, path)
        told = "taken as left, posterior and superior" in " ".join(source.info.warnings)
        assert told == ("space" in drop or "scanner" in fields.get("space", ""))


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd"])
def test_channels_planes_and_series(tmp_path: Path, ending: str) -> None:
    several = np.stack([address(4, 5, 6) + 1000 * n for n in range(3)], -1)
    for name, image, volume in (
        ("channels", itk_image(several, isVector=True), None),
        ("plane", itk_image(address(1, 5, 6)[0]), None),
        ("series", itk_image(np.moveaxis(several, -1, 0), isVector=False), 1),
    ):
        path = tmp_path / f"{name}{ending}"
        SimpleITK.WriteImage(image, str(path), True)
        with closing(open_source(path, volume=volume)) as source:
            require_as_itk(source, path, volume)
            assert len(source.info.channels) == (3 if name == "channels" else 1)


def test_a_list_of_axes_behind_those_of_space_is_volumes(tmp_path: Path) -> None:
    values = np.stack([address(3, 4, 5), address(3, 4, 5) + 500])
    path = nrrd(
        tmp_path / "a.nrrd", values, kinds="domain domain domain list",
        space_directions="(1.5,0,0) (0,2.5,0) (0,0,0.7) none",
    )  # fmt: skip
    with closing(open_source(path, volume=1)) as source:
        assert source.info.facts["volumes"] == 2
        got = source.read(Box((1, 1, 1), (3, 4, 5))).values[..., 0]
        np.testing.assert_array_equal(got, values[1, 1:3, 1:4, 1:5])


def test_units_are_told(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", address(3, 4, 5), space_units='"cm" "cm" "cm"')
    info = open_source(path).info
    assert info.georef.spacing_mm == pytest.approx((7, 25, 15))
    path = nrrd(tmp_path / "b.nrrd", address(3, 4, 5), space_units='"um" "um" "um"')
    assert open_source(path).info.georef.spacing_mm == pytest.approx((0.0007, 0.0025, 0.0015))
    assert "um, not millimetres" in " ".join(open_source(path).info.warnings)
