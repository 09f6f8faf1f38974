"""Converted models, kept: once, whole, never believed when damaged or laid elsewhere."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seg_batch.core import files
from seg_batch.nn.engines.openvino import cache
from tests.support.patience import PATIENCE_S


def written(folder: Path) -> Path:
    """Two files of a few bytes: what is kept, hashed and moved is never parsed."""
    folder.mkdir()
    (folder / "model.xml").write_bytes(b"description")
    (folder / "model.bin").write_bytes(bytes(range(256)))
    return folder / "model.xml"


def test_the_hash_of_a_bundle_covers_both_files(tmp_path: Path) -> None:
    xml = written(tmp_path / "made")
    both = xml.read_bytes() + xml.with_suffix(".bin").read_bytes()
    assert files.sha256(xml) == hashlib.sha256(both).hexdigest()


class Converter:
    """Counts; writes what a real one would, at once."""

    def __init__(self, xml: Path) -> None:
        self.xml, self.calls = xml, 0

    def __call__(self, weights: Path, xml: Path) -> None:
        self.calls += 1
        for suffix in (".xml", ".bin"):
            shutil.copyfile(self.xml.with_suffix(suffix), xml.with_suffix(suffix))


@pytest.fixture
def bundle(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    """A bundle's weights, their hash, and a converter that takes no time."""
    (tmp_path / "bundle").mkdir()
    weights = tmp_path / "bundle" / "model.keras"
    weights.write_bytes(b"weights")
    converter = Converter(written(tmp_path / "made"))
    monkeypatch.setattr(cache, "convert", converter)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return weights, files.sha256(weights), converter


def entries() -> list[Path]:
    folder = cache.user_cache()
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_model_is_converted_once_and_kept(bundle) -> None:  # type: ignore[no-untyped-def]
    weights, sha256, converter = bundle
    first = cache.convert_cached(weights, sha256)
    assert cache.convert_cached(weights, sha256) == first == cache.read(converter.xml)
    assert converter.calls == 1
    (entry,) = entries()
    os.utime(entry, (0, 0))
    now = time.time()
    cache.convert_cached(weights, sha256)
    assert entry.stat().st_mtime > now - 1  # used, so it stays
    cache.convert_cached(weights, "0" * 64)  # other weights
    assert converter.calls == 2
    assert entry in entries()


@pytest.mark.parametrize("harm", ["model.bin", "model.xml", "sha256", "gone"])
def test_a_damaged_entry_is_made_anew(bundle, harm: str) -> None:  # type: ignore[no-untyped-def]
    weights, sha256, converter = bundle
    good = cache.convert_cached(weights, sha256)
    (entry,) = entries()
    if harm == "gone":
        (entry / "model.bin").unlink()
    else:
        content = bytearray((entry / harm).read_bytes())
        content[len(content) // 2] ^= 1
        (entry / harm).write_bytes(content)
    assert cache.convert_cached(weights, sha256) == good
    assert converter.calls == 2
    assert cache.convert_cached(weights, sha256) == good
    assert converter.calls == 2
    assert entries() == [entry]


# Converts by copying, and waits until all racers do so.
RACER = """
import os, shutil, sys, time
from pathlib import Path
from seg_batch.core import files
from seg_batch.nn.engines.openvino import cache
from seg_batch.nn.engines.openvino import cache
weights, made, racing = map(Path, sys.argv[1:])
def convert(_, xml):
    for suffix in (".xml", ".bin"):
        shutil.copyfile(made.with_suffix(suffix), xml.with_suffix(suffix))
    (racing / str(os.getpid())).touch()
    while len(os.listdir(racing)) < 4:
        time.sleep(0.01)
cache.convert = convert
assert cache.convert_cached(weights, files.sha256(weights)) == cache.read(made)
"""


@pytest.mark.full
@pytest.mark.parametrize("damaged", [False, True])
def test_processes_may_race(bundle, damaged: bool) -> None:  # type: ignore[no-untyped-def]
    weights, sha256, converter = bundle
    good = cache.convert_cached(weights, sha256)
    (entry,) = entries()
    if damaged:
        (entry / "model.bin").write_bytes(b"")
    else:
        shutil.rmtree(entry)
    racing = weights.parents[1] / "racing"
    racing.mkdir()
    command = [sys.executable, "-c", RACER, str(weights), str(converter.xml), str(racing)]
    racers = [subprocess.Popen(command) for _ in range(4)]
    assert [racer.wait(PATIENCE_S) for racer in racers] == [0] * 4
    assert entries() == [entry]
    assert cache.convert_cached(weights, sha256) == good
    assert converter.calls == 1


def test_a_bundle_is_never_written_to_nor_believed(bundle) -> None:  # type: ignore[no-untyped-def]
    """What lies in its folder under the right name is not the conversion, whatever it says."""
    weights, sha256, converter = bundle
    cache.convert_cached(weights, sha256)
    (entry,) = entries()
    assert os.listdir(weights.parent) == [weights.name]
    shutil.move(entry, weights.parent / entry.name)
    cache.convert_cached(weights, sha256)
    assert converter.calls == 2


def test_without_a_place_for_it_nothing_is_kept(bundle, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A file stands where the folder would be: works for root, too, who may write anywhere."""
    weights, sha256, converter = bundle
    monkeypatch.setenv("XDG_CACHE_HOME", str(weights))
    assert cache.convert_cached(weights, sha256) == cache.read(converter.xml)
    assert cache.convert_cached(weights, sha256) == cache.read(converter.xml)
    assert converter.calls == 2


# Converts by copying, and from then on no file may grow past 100 bytes, as on a full disk.
FULL = """
import resource, shutil, signal, sys
from pathlib import Path
from seg_batch.core import files
from seg_batch.nn.engines.openvino import cache
from seg_batch.nn.engines.openvino import cache
weights, made = map(Path, sys.argv[1:])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def convert(_, xml):
    for suffix in (".xml", ".bin"):
        shutil.copyfile(made.with_suffix(suffix), xml.with_suffix(suffix))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
cache.convert = convert
assert cache.convert_cached(weights, files.sha256(weights)) == cache.read(made)
"""


@pytest.mark.full
def test_a_full_cache_is_done_without(bundle) -> None:  # type: ignore[no-untyped-def]
    weights, _, converter = bundle
    command = [sys.executable, "-c", FULL, str(weights), str(converter.xml)]
    subprocess.run(command, check=True)
    assert entries() == []


def test_what_killed_conversions_left_goes_and_what_is_at_work_stays(bundle) -> None:  # type: ignore[no-untyped-def]
    weights, sha256, _ = bundle
    left, live, unused, used = (
        cache.user_cache() / name
        for name in (
            f"{cache.MAKING}left",
            f"{cache.MAKING}live",
            "unused",
            "used",
        )
    )
    for folder in (left, live, unused, used):
        (folder / "entry").mkdir(parents=True)
    os.utime(left, (0, 0))
    os.utime(unused, (0, 0))
    os.utime(used, (time.time() - 2 * cache.STALE_S,) * 2)
    cache.convert_cached(weights, sha256)
    assert not left.exists()
    assert not unused.exists()
    assert live.exists()
    assert used.exists()
