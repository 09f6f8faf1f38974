"""Files that are damaged or made to hurt are refused or set aside in one line, in bounded time and memory."""

import random
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from seg_batch.core.errors import InputError, ReadError
from seg_batch.io.dicom.one_file import part10
from seg_batch.io.dicom.survey import survey
from seg_batch.io.sources import open_source
from tests.support.dicom_files import addresses, write_enhanced, write_series
from tests.support.dicom_reading import read

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
]


def message_of(path: Path) -> str:
    with pytest.raises((InputError, ReadError)) as refused:
        read(path)
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("cut", [100, 2000])
def test_a_last_slice_cut_short_is_never_left_out_silently(tmp_path: Path, cut: int) -> None:
    """Its pixels: refused. Its header: it may be of any series, so that it is told."""
    write_series(tmp_path / "s", (4, 32, 32))
    last = tmp_path / "s" / "0003"
    last.write_bytes(last.read_bytes()[:-cut])
    if cut == 100:
        assert "0003 (instance 4): its pixels are cut short: 1948 of 2048" in message_of(
            tmp_path / "s"
        )
    last.write_bytes(last.read_bytes()[:400])
    info, _ = read(tmp_path / "s")
    assert "1 damaged DICOM file beside its own" in info.warnings[0]
    assert "0003" in info.warnings[0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_pixels_cut_short_are_no_zeros(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path / "s", addresses((3, 64, 65)), syntax=syntax)
    file = tmp_path / "s" / "0001"
    data = dcmread(file)
    frame = data.PixelData[16:-8]
    half = frame[: len(frame) // 4 * 2]
    data.PixelData = (
        b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(half))
    )
    data.PixelData += half + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data.save_as(file)
    assert "0001 (instance 2)" in message_of(tmp_path / "s")


def test_files_without_preamble_or_meta_header(tmp_path: Path) -> None:
    series = write_series(tmp_path / "s", syntax=ImplicitVRLittleEndian)
    for file in (tmp_path / "s").iterdir():
        content = file.read_bytes()
        (length,) = struct.unpack("<I", content[140:144])
        file.write_bytes(content[144 + length :] if file.name != "0001" else content[132:])
    pixels = read(tmp_path / "s")[1]
    assert np.array_equal(pixels.values[..., 0], series.pixels)


@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, RLELossless])
def test_absurd_sizes(tmp_path: Path, keyword: str, value: int, syntax: str) -> None:
    write_series(tmp_path / "s", addresses((3, 16, 17)), syntax=syntax)
    for file in (tmp_path / "s").iterdir():
        data = dcmread(file)
        setattr(data, keyword, value)
        data.save_as(file)
    tracemalloc.start()
    message_of(tmp_path / "s")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_absurd_frames(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e")
    data = dcmread(tmp_path / "e")
    data.NumberOfFrames = 2_000_000_000
    data.save_as(tmp_path / "e")
    assert "2000000000 frames" in message_of(tmp_path / "e").replace(",", "")


def test_a_deflated_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part10, "MOST_INFLATED_BYTES", 8 << 20)
    write_series(tmp_path / "s", (1, 16, 17), syntax=DeflatedExplicitVRLittleEndian)
    file = tmp_path / "s" / "0000"
    content = file.read_bytes()
    (length,) = struct.unpack("<I", content[140:144])
    engine = zlib.compressobj(wbits=-15)
    bomb = engine.compress(bytes(64 << 20)) + engine.flush()
    file.write_bytes(content[: 144 + length] + bomb)
    tracemalloc.start()
    (other,) = survey(tmp_path / "s").others
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert "grows beyond 8 MiB" in other.why


def test_an_element_as_long_as_it_says(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (1, 16, 17), syntax=ImplicitVRLittleEndian)
    file = tmp_path / "s" / "0000"
    content = bytearray(file.read_bytes())
    at = content.index(b"\x08\x00\x60\x00")
    content[at + 4 : at + 8] = struct.pack("<I", 0x7FFFFFF0)
    file.write_bytes(content)
    (other,) = survey(tmp_path / "s").others
    assert other.why.startswith("damaged")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, which segbatch ignores by itself
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_mutated_headers(tmp_path: Path, syntax: str) -> None:
    """A refusal in one line, or an image; never another error."""
    write_series(tmp_path / "s", addresses((1, 16, 17), np.uint16, 12), bits=12, syntax=syntax)
    sound = (tmp_path / "s" / "0000").read_bytes()
    chance = random.Random(str(syntax))
    for _ in range(12):
        content = bytearray(sound)
        for _ in range(chance.choice([1, 2, 5])):
            at = chance.randrange(132, min(len(content), 1400))
            content[at : at + chance.choice([0, 1, 4])] = chance.randbytes(chance.choice([1, 2, 4]))
        (tmp_path / "x").write_bytes(content)
        with suppress(InputError):
            open_source(tmp_path / "x").close()
        assert not any("\n" in other.why for other in survey(tmp_path / "x").others)
