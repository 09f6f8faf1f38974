"""Voxels beside their header, in any packing; and headers that would read what is not theirs."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from seg_batch.core.errors import InputError
from seg_batch.core.geometry import Box
from seg_batch.io.sources import open_source, stage
from seg_batch.io.sources.formats.volumes import staging
from tests.support.io.text_volumes import address, meta, nrrd

VALUES = address(4, 5, 6)
RAW = VALUES.tobytes()


def require_values(path: Path) -> None:
    with closing(open_source(path)) as source:
        got = source.read(Box.whole(source.info.extent)).values[..., 0]
    np.testing.assert_array_equal(got, VALUES)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ({"encoding": "gzip"}, gzip.compress(RAW)),
        ({"encoding": "gz"}, gzip.compress(RAW[:100]) + gzip.compress(RAW[100:])),
        ({"encoding": "bzip2"}, bz2.compress(RAW)),
        ({"encoding": "bz2"}, bz2.compress(RAW[:100]) + bz2.compress(RAW[100:])),
        ({"byte skip": "7"}, bytes(7) + RAW),
        ({"byte skip": "-1"}, bytes(70) + RAW),
        ({"line skip": "2"}, b"a\nbc\n" + RAW),
        ({"line skip": "2", "byte skip": "3"}, b"a\nbc\nxyz" + RAW),
        ({"encoding": "gzip", "byte skip": "9"}, gzip.compress(bytes(9) + RAW)),
        ({}, RAW + b"what follows"),
    ],
)
def test_packings_of_an_nrrd(tmp_path: Path, fields: dict[str, str], data: bytes) -> None:
    require_values(nrrd(tmp_path / "a.nrrd", VALUES, data=data, **fields))
    (tmp_path / "b.raw").write_bytes(data)
    require_values(nrrd(tmp_path / "b.nhdr", VALUES, data=b"", data_file="b.raw", **fields))


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_packings_of_a_metaimage(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    require_values(meta(tmp_path / "a.mha", VALUES, data=pack(RAW), CompressedData="True"))
    (tmp_path / "b.zraw").write_bytes(pack(RAW))
    require_values(
        meta(tmp_path / "b.mhd", VALUES, data=b"", CompressedData="True", ElementDataFile="b.zraw")
    )
    (tmp_path / "c.raw").write_bytes(bytes(50) + RAW)
    for skip in ("50", "-1"):
        require_values(
            meta(tmp_path / "c.mhd", VALUES, data=b"", HeaderSize=skip, ElementDataFile="c.raw")
        )


def test_a_file_for_each_slice(tmp_path: Path) -> None:
    for n, plane in enumerate(VALUES):
        (tmp_path / f"s{n + 1:02d}.raw").write_bytes(plane.tobytes())
    names = "".join(f"s{n:02d}.raw\n" for n in range(1, 5))
    listed = nrrd(tmp_path / "a.nhdr", VALUES, data=b"")
    text = listed.read_text().rstrip("\n") + f"\ndata file: LIST\n{names}"
    listed.write_text(text)
    require_values(listed)
    require_values(nrrd(tmp_path / "b.nhdr", VALUES, data=b"", data_file="s%02d.raw 1 4 1"))
    require_values(meta(tmp_path / "c.mhd", VALUES, data=names.encode(), ElementDataFile="LIST"))
    require_values(meta(tmp_path / "d.mhd", VALUES, data=b"", ElementDataFile="s%02d.raw 1 4 1"))
    identity = open_source(listed).info.identity
    (tmp_path / "s03.raw").write_bytes(VALUES[0].tobytes())
    assert open_source(listed).info.identity != identity


def refused(path: Path, words: str, tmp_path: Path) -> None:
    def use() -> None:
        stage(path, tmp_path / "staged")
        open_source(path)

    with pytest.raises(InputError) as caught:
        use()
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500 + len(str(path))
    assert not (tmp_path / "staged").exists() or not list((tmp_path / "staged").iterdir())


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.raw", "below/secret.raw", "..", ".", "..\\secret.raw", ""]
)
def test_voxels_are_never_read_from_elsewhere(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    (home / "below").mkdir(parents=True)
    for place in (tmp_path, home / "below"):
        (place / "secret.raw").write_bytes(RAW)
    header = nrrd(home / "a.nhdr", VALUES, data=b"", data_file=name)
    refused(header, "only a file in the folder", tmp_path)
    refused(meta(home / "a.mhd", VALUES, data=b"", ElementDataFile=name or " "), "only a file in", tmp_path)  # fmt: skip
    refused(meta(home / "b.mhd", VALUES, data=f"{name}\n".encode() * 4, ElementDataFile="LIST"), "a" if name else "0 files", tmp_path)  # fmt: skip


def test_links_out_of_the_folder_and_what_is_no_file_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.raw").write_bytes(RAW)
    (home / "a.raw").symlink_to(tmp_path / "secret.raw")
    (home / "b.raw").mkdir()
    (home / "loop.raw").symlink_to(home / "loop.raw")
    for name, words in (
        ("a.raw", "a link to another folder"),
        ("b.raw", "no file of data"),
        ("loop.raw", "can't be read beside it"),
        ("gone.raw", "can't be read beside it"),
        ("a.nhdr", "no file of data"),
    ):
        refused(nrrd(home / "a.nhdr", VALUES, data=b"", data_file=name), words, tmp_path)
    (home / "a.img").symlink_to(tmp_path / "secret.raw")
    (home / "a.hdr").write_bytes(bytes(344) + b"ni1\0")
    refused(home / "a.hdr", "a link to another folder", tmp_path)


def test_bytes_after_the_voxels_are_told(tmp_path: Path) -> None:
    for path in (
        nrrd(tmp_path / "a.nrrd", VALUES, data=RAW * 2),
        meta(tmp_path / "a.mha", VALUES, data=RAW * 2),
    ):
        assert "240 bytes after the voxels" in " ".join(open_source(path).info.warnings)


def test_a_renamed_header_does_not_read_the_voxels_of_another(tmp_path: Path) -> None:
    for stem in ("scan", "scan-2"):
        (tmp_path / f"{stem}.raw").write_bytes(RAW)
    renamed = meta(tmp_path / "scan-2.mhd", VALUES, data=b"", ElementDataFile="scan.raw")
    refused(renamed, "one of the two was renamed", tmp_path)
    (tmp_path / "scan-2.raw").unlink()
    require_values(renamed)


def test_damaged_short_and_endless_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 99, (40, 50, 60)).astype("int16")
    raw = noise.tobytes()
    good = gzip.compress(raw)
    flipped = bytearray(good)
    flipped[-6] ^= 1  # in the checksum
    cases = [
        ("gzip", good[: len(good) // 2], "damaged"),
        ("gzip", bytes(flipped), "damaged"),
        ("gzip", gzip.compress(raw[:-1000]), "cut short"),
        ("gzip", raw, "damaged"),
        ("bzip2", bz2.compress(raw)[:-100], "damaged"),
        ("raw", raw[:-1], "can't hold them"),
        ("raw", b"", "can't hold them"),
    ]
    for encoding, data, words in cases:
        refused(nrrd(tmp_path / "a.nrrd", noise, data=data, encoding=encoding), words, tmp_path)
    packed = zlib.compress(raw)
    for data, words in ((packed[:-100], "damaged"), (packed[:50] + packed[60:], "damaged")):
        path = meta(tmp_path / "a.mha", noise, data=data, CompressedData="True")
        refused(path, words, tmp_path)
    bomb = gzip.compress(raw + bytes(1 << 20))
    monkeypatch.setattr(staging, "_SLACK_BYTES", 1000)
    refused(nrrd(tmp_path / "b.nrrd", noise, data=bomb, encoding="gzip"), "goes on", tmp_path)
